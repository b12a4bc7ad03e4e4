# @summary Keeps a directory identical to a release file of depsync: brings it there, and undoes whatever else is done to it.
#
# Nothing runs where the directory is as the release. With noop it says whether it would.
#
# @example The deployment directory of this cluster
#   depsync::release { {{ directory | ruby }}:
#     source => 'puppet:///modules/depsync/{{ cluster }}.depsync',
#   }
#
# @param source
#   The release file, as a file resource takes it; 'depsync release' writes one.
# @param target
#   The directory.
# @param max_delete
#   Refuse if more files and links would go; a number or a share.
# @param timeout
#   How many seconds it may take.
define depsync::release (
  String[1] $source,
  Pattern[/\A\//] $target = $title,
  String[1] $max_delete = '50%',
  Integer[1] $timeout = 3600,
) {
  include depsync

  $key = sha256($target)[0, 16]
  $file = "${depsync::directory}/${key}.depsync"
  $apply = [$depsync::program, 'apply', $file, '--target', $target, '--quiet']

  file { $file:
    ensure    => file,
    source    => $source,
    mode      => '0600',
    backup    => false,
    show_diff => false,
  }

  exec { "depsync release of ${target}":
    command   => $apply + ['--max-delete', $max_delete, '--lock-timeout', '60s'],
    unless    => [$apply + ['--check', '--detailed-exitcode']],
    timeout   => $timeout,
    logoutput => on_failure,
    require   => File[$file],
  }
}
