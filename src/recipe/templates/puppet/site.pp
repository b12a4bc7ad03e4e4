# The directories of the cluster {{ cluster }}. Put this into the manifest of its nodes, and the release file into the
# module's files: depsync release modules/depsync/files/{{ cluster }}.depsync -c {{ config }}
{% for directory in directories %}
depsync::release { {{ directory | ruby }}:
  source => 'puppet:///modules/depsync/{{ cluster }}.depsync',
}
{% endfor %}
