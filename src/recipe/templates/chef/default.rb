# frozen_string_literal: true

# The directories of the cluster {{ cluster }}. The release file is one of the cookbook's files:
# depsync release cookbooks/depsync/files/{{ cluster }}.depsync -c {{ config }}

directory {{ (state_home ~ "/releases") | ruby }} do
  recursive true
  mode '0700'
end

cookbook_file {{ (state_home ~ "/releases/" ~ cluster ~ ".depsync") | ruby }} do
  source '{{ cluster }}.depsync'
  mode '0600'
end
{% for directory in directories %}

depsync_release {{ directory | ruby }} do
  file {{ (state_home ~ "/releases/" ~ cluster ~ ".depsync") | ruby }}
end
{% endfor %}
