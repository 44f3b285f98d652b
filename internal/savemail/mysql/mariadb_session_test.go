package mysql_test

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail"
	"goguerrillad/internal/savemail/mysql"
	"goguerrillad/internal/test"
	"goguerrillad/internal/test/mysqlproxy"
	"goguerrillad/internal/test/servers"
	"goguerrillad/internal/test/storetest"
)

// TestSession sets defaults of a server that the store must change in its sessions.
func TestSession(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a MariaDB")
	}
	with, _ := testbeds(t, servers.MariaDB(t, "--query-cache-type=1"))
	for _, set := range []string{
		"completion_type='CHAIN'", "completion_type='RELEASE'", "autocommit=0", "init_connect='START TRANSACTION'",
	} {
		t.Run(set, with(func(t *testing.T, b *testbed) { testCommits(t, b, set) }))
	}
	t.Run("settings", with(testSettings))
}

// testCommits stores four messages, and before them a transaction if the setting
// affects COMMIT. All rows must exist after the server was killed.
func testCommits(t *testing.T, b *testbed, set string) {
	b.create(t)
	b.server.Exec(t, "SET GLOBAL "+set)
	var to []string
	if strings.HasPrefix(set, "completion_type") {
		for i := range 60 {
			to = append(to, fmt.Sprintf("u%d@example.com", i))
		}
	}
	s := b.open(t, nil)
	defer s.Close()
	if to != nil {
		for _, err := range s.Save(t.Context(), []*envelope.Envelope{storetest.Envelope(text, to...)}) {
			if err != nil {
				t.Error(err)
			}
		}
	}
	for range 4 {
		if err := save(t, s, "b@example.com")[0]; err != nil {
			t.Error(err)
		}
	}
	b.server.Kill()
	b.server.Start(b.parent) // without the setting
	test.Await(t, nil, 30*time.Second, "the server does not reply", b.db.Ping)
	if n := len(b.rows(t)); n != len(to)+4 {
		t.Errorf("%d rows, want %d", n, len(to)+4)
	}
}

// badValues has a harmful value for each setting, as SQL.
var badValues = map[string]string{
	"sql_select_limit":         "1",
	"sql_safe_updates":         "1",
	"autocommit":               "0",
	"completion_type":          "'CHAIN'",
	"character_set_client":     "latin1",
	"character_set_connection": "latin1",
	"character_set_results":    "latin1",
	"sql_mode":                 "'ANSI,EMPTY_STRING_IS_NULL,NO_BACKSLASH_ESCAPES'",
	"tx_isolation":             "'READ-UNCOMMITTED'",
	"tx_read_only":             "1",
	"unique_checks":            "0",
	"foreign_key_checks":       "0",
	"sql_big_selects":          "0",
	"max_statement_time":       "0.5",
	"query_cache_type":         "'DEMAND'",
	"system_versioning_asof":   "'2020-01-01 00:00:00'",
	"sql_log_bin":              "0",
	"wsrep_dirty_reads":        "1",
	"check_constraint_checks":  "0",
	"skip_replication":         "1",
	"use_secondary_engine":     "'FORCED'",

	"tidb_snapshot":                "'2020-01-01 00:00:00'",
	"tidb_read_staleness":          "-5",
	"tidb_low_resolution_tso":      "1",
	"tidb_enable_external_ts_read": "1",
	"tidb_batch_insert":            "1",
	"tidb_batch_commit":            "1",
	"tidb_dml_batch_size":          "10",
	"tidb_dml_type":                "'bulk'",
	"transaction_isolation":        "'READ-COMMITTED'",
	"transaction_read_only":        "1",
	"max_execution_time":           "500",
}

// testSettings gives each setting a bad value, globally and by init_connect. The
// store corrects it in each session, stores messages and settles an outcome.
func testSettings(t *testing.T, b *testbed) {
	b.create(t)
	proxy := mysqlproxy.Start(t, b.server.Addr)
	var version string
	b.server.QueryRow(t, "SELECT VERSION()", &version)
	isMariaDB := strings.Contains(version, "MariaDB")
	values := maps.Clone(badValues)
	if !isMariaDB {
		values["sql_mode"] = "'ANSI,NO_BACKSLASH_ESCAPES'" // only MariaDB has EMPTY_STRING_IS_NULL
	}
	names := mysql.SettingNames()
	for name := range values {
		if _, ok := names[name]; !ok {
			t.Errorf("%s is not in settings", name)
		}
	}
	var known []string
	for name := range names {
		var value string
		err := b.db.QueryRow("SHOW VARIABLES LIKE '"+name+"'").Scan(&name, &value)
		switch {
		case errors.Is(err, sql.ErrNoRows) || unsupported(value, name):
		case err != nil:
			t.Fatal(err)
		case values[name] == "":
			t.Errorf("%s is not in badValues", name)
		default:
			known = append(known, name)
		}
	}
	slices.Sort(known)
	if slices.Contains(known, "sql_log_bin") {
		right := "SESSION_VARIABLES_ADMIN" // for init_connect
		if isMariaDB {
			right = "BINLOG ADMIN"
		}
		b.server.Exec(t, "GRANT "+right+" ON *.* TO `"+b.server.User+"`@`%`")
	}
	for _, name := range known {
		t.Run(name, func(t *testing.T) {
			if _, err := b.server.ConnectUser(t).Exec("SET SESSION " + name + "=" + values[name]); err != nil {
				t.Skipf("the server has no bad value: %v", err)
			}
			b.server.Exec(t, "DELETE FROM mail."+b.table)
			var before string // only init_connect sets a variable without a global value
			if b.db.QueryRow("SELECT @@GLOBAL."+name).Scan(&before) == nil {
				if _, err := b.db.Exec("SET GLOBAL " + name + "=" + values[name]); err == nil {
					defer b.server.Exec(t, "SET GLOBAL "+name+"="+asSQL(before))
				}
			}
			b.server.Exec(t, "SET GLOBAL init_connect=\"SET SESSION "+name+"="+values[name]+"\"")
			defer b.server.Exec(t, "SET GLOBAL init_connect=''")
			testSetting(t, b, proxy, name)
			if n := len(b.rows(t)); n != 3 {
				t.Errorf("%d rows, want 3", n)
			}
		})
	}
}

// unsupported reports whether the server does not support the variable. TiDB shows
// such variables with an empty value.
func unsupported(value, name string) bool { return value == "" && name != "tidb_snapshot" }

// asSQL returns the value of a variable as an SQL expression.
func asSQL(value string) string {
	if strings.Trim(value, "0123456789.") == "" && value != "" || value == "DEFAULT" {
		return value
	}
	return "'" + value + "'"
}

// testSetting requires that the store corrects the setting in each session.
func testSetting(t *testing.T, b *testbed, proxy *mysqlproxy.Proxy, name string) {
	var mu sync.Mutex
	corrections := 0 // sessions in which the store has corrected the setting
	cut := false     // whether to cut the connection at the next INSERT
	proxy.Arm(func(statement string) *mysqlproxy.Fault {
		mu.Lock()
		defer mu.Unlock()
		if statement == mysql.SettingStatement(name) {
			corrections++
		}
		if cut && strings.Contains(statement, "VALUES (") {
			cut = false
			return &mysqlproxy.Fault{Part: 2}
		}
		return nil
	})
	defer proxy.Arm(nil)
	s := b.open(t, func(o *mysql.Options) { o.Hosts = []string{proxy.Addr} })
	defer s.Close()
	saveOne(t, s, nil)
	mu.Lock()
	cut = true
	mu.Unlock()
	saveOne(t, s, nil) // settled
	saveOne(t, s, nil)
	o := b.options()
	o.Hosts = []string{proxy.Addr}
	if got, err := recipients(t, o, "SELECT 1 FROM DUAL WHERE :address='\u00fc'").Has(t.Context(), "\u00fc", ""); err != nil || !got {
		t.Errorf("Has = %v, %v, want true", got, err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := 3 // to store, to settle, and to store again
	if mysql.SettingNames()[name] {
		want++
	}
	if corrections != want || cut {
		t.Errorf("corrected in %d sessions, want %d; connection lost: %v, want true", corrections, want, !cut)
	}
}

// TestRefusedSetting: if a server refuses a setting on which a 250 or an outcome
// depends, the connection fails. For other settings the log has a warning.
func TestRefusedSetting(t *testing.T) {
	const refusal = "\xff\xa9\x04#42000refused" // error 1193
	for name, must := range map[string]bool{
		"sql_select_limit": true, "autocommit": true, "completion_type": true, "character_set_client": true, "sql_mode": true,
		"system_versioning_asof": true, "tidb_batch_commit": true,
		"transaction_isolation": false, "unique_checks": false, "max_statement_time": false, "sql_log_bin": false,
	} {
		addr, _ := packetServer(t, greeting, okPacket, []string{refusal})
		dc, err := mysql.ConnectSafely(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		defer dc.Close()
		var log test.Log
		if err := mysql.ApplySetting(t.Context(), dc, name, log.Logger()); (err != nil) != must {
			t.Errorf("%s: error %v, want an error: %v", name, err, must)
		}
		if n := log.Count("MySQL session setting cannot be changed"); (n == 1) == must {
			t.Errorf("%s: %d warnings, want one: %v", name, n, !must)
		}
	}
}

// TestRefusedSetUp: a host that refuses a required setting is unavailable.
func TestRefusedSetUp(t *testing.T) {
	const column, end = "\x03def\x00\x00\x00\x01a\x00\x0c\x21\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00", "\xfe\x00\x00\x02\x00"
	packet := []string{"\x01", column, end, "\x071048576", end} // max_allowed_packet, which the driver reads
	for name, value := range map[string]string{"sql_select_limit": "1", "sql_mode": "ANSI"} {
		shown := []string{"\x02", column, column, end}
		for _, v := range [][2]string{{"sql_select_limit", "18446744073709551615"}, {name, value}} {
			shown = append(shown, string(rune(len(v[0])))+v[0]+string(rune(len(v[1])))+v[1])
		}
		addr, _ := packetServer(t, greeting, okPacket, packet, append(shown, end), []string{"\xff\xa9\x04#42000refused"})
		s, err := mysql.New(mysql.Options{Hosts: []string{addr}, User: "u", DB: "d", Table: "new_mail", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Check(t.Context()); !errors.Is(err, savemail.ErrUnavailable) || !strings.Contains(err.Error(), "set up the session: SET SESSION "+name+"=") {
			t.Errorf("%s: error %v, want ErrUnavailable with the statement", name, err)
		}
	}
}
