// Package debian contains the tests of the Debian package. They install, run, upgrade and
// remove the package on Debian systems in containers.
package debian
