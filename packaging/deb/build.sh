#!/bin/sh
# Builds build/goguerrillad_VERSION_ARCH.deb from a copy of the checkout. make deb
# calls it in the root of the checkout, with VERSION, COMMIT and DEB_ARCH.
set -eu

arch=${DEB_ARCH:-$(dpkg --print-architecture)}

# All packed files have one time: that of the commit, else of CHANGELOG.md.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

# In a Debian version a hyphen begins the revision.
version=$(echo "${VERSION#v}" | tr - +)

stage=build/deb/goguerrillad-$version
rm -rf build/deb
mkdir -p "$stage"
cp -a cmd docs internal man packaging go.mod go.sum Makefile goguerrilla.conf.sample \
	README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE "$stage"
cp -a packaging/deb "$stage/debian"
for kind in sysusers tmpfiles; do
	cp "packaging/systemd/goguerrillad.$kind" "$stage/debian/"
done
for page in man/*; do
	echo "$page"
done >"$stage/debian/goguerrillad.manpages"
sed "s/@VERSION@/$version/; s/@DATE@/$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")/" \
	"$stage/debian/changelog.in" >"$stage/debian/changelog"
rm "$stage/debian/changelog.in" "$stage/debian/build.sh"
find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# dh sets another HOME.
GOMODCACHE=$(go env GOMODCACHE) GOCACHE=$(go env GOCACHE) GOPROXY=$(go env GOPROXY)
PATH=$(go env GOROOT)/bin:$PATH
export GOMODCACHE GOCACHE GOPROXY PATH COMMIT
# No package with debug symbols, since the linker omits them.
DEB_BUILD_OPTIONS=noautodbgsym
export DEB_BUILD_OPTIONS
(cd "$stage" && dpkg-buildpackage --build=binary --unsigned-changes --unsigned-buildinfo \
	--host-arch "$arch" --no-check-builddeps) >build/deb/log 2>&1 || {
	cat build/deb/log
	exit 1
}
mv "build/deb/goguerrillad_${version}_$arch.deb" build/
echo "build/goguerrillad_${version}_$arch.deb"
