#!/usr/bin/python
"""An Ansible module: makes a directory of a host identical to a release file of depsync."""
{% raw %}
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: depsync_apply
short_description: Makes a directory identical to a release file of depsync
description:
  - Runs C(depsync apply). What is staged is verified, and becomes live in one burst or not at all.
  - Changes nothing where the directory is as the release; undoes whatever else was done to it.
  - Check mode says what would change; diff mode lists every path.
options:
  file:
    description: The release file, on the host.
    type: path
    required: true
  target:
    description: The directory.
    type: path
    required: true
  program:
    description: Where depsync is.
    type: path
    default: depsync
  max_delete:
    description: Refuse if more files and links would go; a number or a share.
    type: str
    default: 50%
  mkpath:
    description: Make the missing directories above the target.
    type: bool
    default: false
  lock_timeout:
    description: How long to wait for another run.
    type: str
    default: 60s
author:
  - depsync
"""

EXAMPLES = r"""
- name: Make the deployment directory identical to the release
  depsync_apply:
    file: /var/lib/depsync/releases/shop.depsync
    target: /opt/wso2mi/repository/deployment/server
"""

RETURN = r"""
release:
  description: The release.
  returned: success
  type: str
counts:
  description: How many names are created, updated, deleted, or change their metadata alone.
  returned: success
  type: dict
notes:
  description: What depsync wants to be known.
  returned: success
  type: list
"""

import json

from ansible.module_utils.basic import AnsibleModule

SIGNS = {"create": "+", "update": "~", "delete": "-", "metadata": "m", "type": "t"}


def parsed(text):
    """The lines of JSON in what depsync printed."""
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def path_of(change):
    """A path as text; one that is no text stays in base64."""
    return change.get("path", "base64:" + change.get("path_b64", ""))


def told(lines):
    """Why it failed, in the words of depsync."""
    for line in reversed(lines):
        error = line.get("error")
        if error:
            words = [error["message"]] + error.get("causes", [])
            hint = error.get("hint")
            return ": ".join(words) + ("; " + hint if hint else "")
    return "depsync apply failed"


def main():
    """Runs depsync and says what it did."""
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "target": {"type": "path", "required": True},
            "program": {"type": "path", "default": "depsync"},
            "max_delete": {"type": "str", "default": "50%"},
            "mkpath": {"type": "bool", "default": False},
            "lock_timeout": {"type": "str", "default": "60s"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    command = [wanted["program"], "apply", wanted["file"], "--target", wanted["target"]]
    command += ["--max-delete", wanted["max_delete"], "--lock-timeout", wanted["lock_timeout"]]
    command += ["--json", "--diff", "--detailed-exitcode"]
    command += ["--mkpath"] if wanted["mkpath"] else []
    command += ["--check"] if module.check_mode else []
    code, output, errors = module.run_command(command)
    lines = parsed(output)
    if code not in (0, 2):
        module.fail_json(msg=told(lines), rc=code, stderr=errors)
    node = next((line for line in lines if line.get("type") == "node"), {})
    summary = next((line for line in lines if line.get("type") == "summary"), {})
    result = {
        "changed": code == 2,
        "release": summary.get("release"),
        "counts": node.get("counts", {}),
        "notes": node.get("notes", []) + summary.get("notes", []),
    }
    if module._diff:
        changes = [line for line in lines if line.get("type") == "change"]
        text = ["%s %s" % (SIGNS.get(line["change"], "?"), path_of(line)) for line in changes]
        result["diff"] = {"prepared": "".join(line + "\n" for line in text)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
{% endraw %}
