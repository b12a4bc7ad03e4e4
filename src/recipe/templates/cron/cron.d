{% set push %}
{% for variable in variables %}{{ variable.name }}={{ variable.value | shell }} {% endfor %}
{{ program | shell }} push -q -c {{ config | shell }}{% if not is_log_configured %} --log-file {{ log_file | shell }}{% endif %}
{% endset %}
# depsync, cluster {{ cluster }}: a file for /etc/cron.d. ssh, and what its configuration calls, are found by PATH.
SHELL=/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
MAILTO="{{ mail_to }}"
{% if is_frequent %}
#
# Each push is told in the log. One that finds another at work ends at once with 4; the next brings what it would have.
{{ schedule }} {{ user }} {{ (push ~ " --lock-timeout 0 >/dev/null 2>&1") | crontab }}
# Once an hour a push waits for the one at work, and cron mails its errors to MAILTO.
7 * * * * {{ user }} {{ (push ~ " --lock-timeout 10m") | crontab }}
{% else %}
{{ schedule }} {{ user }} {{ (push ~ " --lock-timeout 10m") | crontab }}
{% endif %}
