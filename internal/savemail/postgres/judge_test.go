package postgres

import "testing"

// TestJudge: each outcome needs a proof.
func TestJudge(t *testing.T) {
	old := server{"cluster", "00000002", "start"}
	restarted := server{"cluster", "00000002", "later"}
	promoted := server{"cluster", "00000003", "start"}
	earlier := server{"cluster", "00000001", "start"}
	other := server{"other", "00000002", "start"}
	state := func(s string) *string { return &s }
	for _, tt := range []struct {
		name   string
		now    server
		status *string
		found  bool
		want   errorClass
	}{
		{"committed", old, state("committed"), true, committed},
		{"committed, and a consumer has deleted the row", old, state("committed"), false, committed},
		{"aborted", old, state("aborted"), false, lost},
		{"in progress", old, state("in progress"), false, unknown},
		{"too long ago", old, nil, false, unknown},
		{"too long ago, the row is there", old, nil, true, committed},
		{"restarted, committed", restarted, state("committed"), true, committed},
		{"restarted, the id belongs to another transaction, or the row is deleted", restarted, state("committed"), false, unknown},
		{"restarted, aborted", restarted, state("aborted"), false, lost},
		{"restarted, in progress", restarted, state("in progress"), false, unknown},
		{"promoted, replicated", promoted, state("committed"), true, committed},
		{"promoted, the id belongs to another transaction", promoted, state("committed"), false, lost},
		{"promoted, not replicated", promoted, state("aborted"), false, lost},
		{"promoted, in progress there", promoted, state("in progress"), false, lost},
		{"the old primary of an earlier timeline", earlier, state("aborted"), false, unknown},
		{"the old primary has the row", earlier, state("committed"), true, unknown},
		{"another cluster", other, state("aborted"), false, unknown},
		{"another cluster has the row", other, state("committed"), true, unknown},
	} {
		if got, err := judge(old, tt.now, tt.status, tt.found); got != tt.want || (err != nil) != (got == unknown) {
			t.Errorf("%s: %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}
