package mysql

import "testing"

func TestDurabilitySettings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values map[string]string
		unsafe bool
	}{
		{"innodb_flush_log_at_trx_commit", map[string]string{"innodb_flush_log_at_trx_commit": "0"}, true},
		{"innodb_flush_log_at_trx_commit", map[string]string{"innodb_flush_log_at_trx_commit": "1"}, false},
		{"innodb_flush_log_at_trx_commit", map[string]string{"innodb_flush_log_at_trx_commit": "2"}, true},
		{"innodb_flush_log_at_trx_commit", map[string]string{"innodb_flush_log_at_trx_commit": "3"}, false},
		{"innodb_doublewrite", map[string]string{"innodb_doublewrite": "ON"}, false},
		{"innodb_doublewrite", map[string]string{"innodb_doublewrite": "DETECT_AND_RECOVER"}, false},
		{"innodb_doublewrite", map[string]string{"innodb_doublewrite": "DETECT_ONLY"}, true},
		{"innodb_doublewrite", map[string]string{"innodb_doublewrite": "OFF"}, true},
		{"innodb_flush_method", map[string]string{"innodb_flush_method": "O_DIRECT"}, false},
		{"innodb_flush_method", map[string]string{"innodb_flush_method": "fsync"}, false},
		{"innodb_flush_method", map[string]string{"innodb_flush_method": "nosync"}, true},
		{"innodb_flush_method", map[string]string{"innodb_flush_method": "littlesync"}, true},
		{"sync_binlog", map[string]string{"sync_binlog": "0", "log_bin": "OFF"}, false},
		{"sync_binlog", map[string]string{"sync_binlog": "0", "log_bin": "ON"}, true},
		{"sync_binlog", map[string]string{"sync_binlog": "1", "log_bin": "ON"}, false},
		{"wsrep_on", map[string]string{"wsrep_on": "OFF", "wsrep_provider": "none"}, false},
		{"wsrep_on", map[string]string{"wsrep_on": "OFF", "wsrep_provider": "/usr/lib/galera/libgalera_smm.so"}, true},
		{"wsrep_on", map[string]string{"wsrep_on": "ON", "wsrep_provider": "/usr/lib/galera/libgalera_smm.so"}, false},
		{"innodb_redo_log_enabled", map[string]string{"innodb_redo_log_enabled": "ON"}, false},
		{"innodb_redo_log_enabled", map[string]string{"innodb_redo_log_enabled": "OFF"}, true},
	} {
		checked := false
		for _, d := range durabilitySettings {
			if d.name == tt.name {
				checked = true
				if got := d.unsafe(tt.values[d.name], tt.values); got != tt.unsafe {
					t.Errorf("%s with %v: unsafe is %v, want %v", tt.name, tt.values, got, tt.unsafe)
				}
			}
		}
		if !checked {
			t.Errorf("%s: not in durabilitySettings", tt.name)
		}
	}
}

// TestSettingMatches: a server may show 0 in several ways.
func TestSettingMatches(t *testing.T) {
	for _, test := range []struct {
		value, shown string
		want         bool
	}{
		{"0", "0", true},
		{"0", "0.000000", true},
		{"0", "", true},
		{"0", "0.500000", false},
		{"0", "1.000000", false},
		{"0", "1", false},
		{"0", "-5", false},
		{"0", "OFF", false},
		{"ON", "on", true},
		{"ON", "OFF", false},
		{"ON", "", false},
		{"OFF", "0", false},
		{"", "", true},
	} {
		if got := (setting{value: test.value}).matches(test.shown); got != test.want {
			t.Errorf("value %q matches %q: %v, want %v", test.value, test.shown, got, test.want)
		}
	}
}
