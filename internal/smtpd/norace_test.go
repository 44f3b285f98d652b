//go:build !race

package smtpd_test

const raceEnabled = false
