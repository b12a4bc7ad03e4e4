# frozen_string_literal: true

# Keeps a directory identical to a release file of depsync: brings it there, and undoes whatever else is done to it.
# Nothing runs where the directory is as the release; why-run says what would change.

require 'json'

provides :depsync_release
unified_mode true

property :target, String, name_property: true
property :file, String, required: true
property :program, String, default: {{ node_program | ruby }}
property :max_delete, String, default: '50%'
property :timeout, Integer, default: 3600

action_class do
  def apply(*more)
    command = [new_resource.program, 'apply', new_resource.file, '--target', new_resource.target,
               '--max-delete', new_resource.max_delete, '--json', '--diff', '--detailed-exitcode', *more]
    done = shell_out(command, timeout: new_resource.timeout)
    return done if [0, 2].include?(done.exitstatus)

    raise "depsync apply ended with #{done.exitstatus}: #{done.stderr}"
  end

  def changes(done)
    lines = done.stdout.lines.map { |line| JSON.parse(line) }
    lines.select { |line| line['type'] == 'change' }
         .map { |line| "#{line['change']} #{line['path'] || line['path_b64']}" }
  end
end

action :apply do
  checked = apply('--check')
  if checked.exitstatus == 2
    converge_by(["bring #{new_resource.target} to #{new_resource.file}", *changes(checked)]) do
      apply('--lock-timeout', '60s')
    end
  end
end
