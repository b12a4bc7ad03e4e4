# @summary What a host needs before a directory of it can be kept: the program, and a place for release files.
#
# @param program
#   Where depsync is on the host.
# @param program_source
#   Where it comes from, such as puppet:///modules/depsync/depsync; it must be there already if this is not given.
# @param directory
#   Where release files are on the host.
class depsync (
  Pattern[/\A\//] $program = {{ node_program | ruby }},
  Optional[String[1]] $program_source = undef,
  Pattern[/\A\//] $directory = {{ (state_home ~ "/releases") | ruby }},
) {
  file { $directory:
    ensure => directory,
    mode   => '0700',
  }

  if $program_source {
    file { $program:
      ensure => file,
      source => $program_source,
      mode   => '0755',
      before => File[$directory],
    }
  }
}
