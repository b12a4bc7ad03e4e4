# frozen_string_literal: true

name 'depsync'
maintainer 'depsync'
license 'Apache-2.0'
description 'Keeps directories identical to release files of depsync'
version '1.0.0'
chef_version '>= 15.3'
