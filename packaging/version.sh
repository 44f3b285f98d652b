#!/bin/sh
# Prints the version of the checkout: the version in the first heading of
# CHANGELOG.md. Unless HEAD has the tag of that version, the number of commits
# and the commit follow, so that later packages sort as newer. Run it in the
# root of the checkout.
set -eu
version=$(sed -n 's/^## \([0-9][0-9A-Za-z.~]*\).*/\1/p' CHANGELOG.md | head -n 1)
[ -n "$version" ] || {
	echo "version.sh: CHANGELOG.md has no heading with a version" >&2
	exit 1
}
if commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
	dirty=
	git diff-index --quiet HEAD -- || dirty=.dirty
	if [ -n "$dirty" ] || [ "$(git describe --tags --exact-match 2>/dev/null)" != "v$version" ]; then
		version=$version+$(git rev-list --count HEAD).g$commit$dirty
	fi
fi
echo "$version"
