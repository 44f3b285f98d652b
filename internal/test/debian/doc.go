// Package debian holds the tests of the Debian package: installed, run under
// systemd, upgraded and removed on Debian systems that are booted for them.
package debian
