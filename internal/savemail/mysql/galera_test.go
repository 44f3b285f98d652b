package mysql

import (
	"fmt"
	"syscall"
	"testing"
)

func TestOwnAddress(t *testing.T) {
	three := []string{"10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"}
	for _, tt := range []struct {
		members []string
		index   int
		want    string
	}{
		{three, 0, "10.0.0.1:3306"},
		{three, 2, "10.0.0.3:3306"},
		{three, 3, ""},
		{three, -1, ""},
		{[]string{""}, 0, ""},
		{[]string{"AUTO", "10.0.0.2:3306"}, 0, ""},
		{[]string{":3306", "10.0.0.2:3306"}, 0, ""},
		{[]string{"10.0.0.1:3306", "10.0.0.1:3306"}, 0, ""},
		{[]string{"10.0.0.1:3306", "10.0.0.1:3306"}, 1, ""},
	} {
		if got := ownAddress(tt.members, tt.index); got != tt.want {
			t.Errorf("ownAddress(%q, %d) = %q, want %q", tt.members, tt.index, got, tt.want)
		}
	}
}

func TestExcludes(t *testing.T) {
	lost := view{cluster: "a", self: "10.0.0.1:3306"}
	for _, tt := range []struct {
		v    view
		lost view
		want bool
	}{
		{view{cluster: "a", members: []string{"10.0.0.2:3306"}}, lost, true},
		{view{cluster: "a", members: []string{"10.0.0.2:3306", "10.0.0.1:3306"}}, lost, false},
		{view{cluster: "b", members: []string{"10.0.0.2:3306"}}, lost, false},
		{view{cluster: "a", members: []string{"10.0.0.2:3306"}}, view{cluster: "a"}, false},
	} {
		if got := tt.v.excludes(tt.lost); got != tt.want {
			t.Errorf("%+v excludes %+v: %v, want %v", tt.v, tt.lost, got, tt.want)
		}
	}
}

func TestStateOf(t *testing.T) {
	for err, want := range map[error]sessionState{
		syscall.ECONNREFUSED: serverGone,
		syscall.ENOENT:       serverGone,
		syscall.ETIMEDOUT:    sessionUnknown,
		syscall.EHOSTUNREACH: sessionUnknown,
		syscall.ECONNRESET:   sessionUnknown,
	} {
		if got := stateOf(fmt.Errorf("connect: %w", err)); got != want {
			t.Errorf("stateOf(%v) = %v, want %v", err, got, want)
		}
	}
}
