package recipient_test

import (
	"reflect"
	"strings"
	"testing"

	"goguerrillad/internal/recipient"
)

// both means both dialects in a table of tests.
const both = recipient.Dialect(255)

func dialects(d recipient.Dialect) []recipient.Dialect {
	if d == both {
		return []recipient.Dialect{recipient.MySQL, recipient.SQLite}
	}
	return []recipient.Dialect{d}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text    string
		dialect recipient.Dialect
		sql     string
		args    string // a for the address, d for the domain
	}{
		{"SELECT 1 FROM u WHERE mail=:address", both, "SELECT 1 FROM u WHERE mail=?", "a"},
		{"SELECT 1 FROM u WHERE d=:domain OR mail=:address OR d=:domain", both, "SELECT 1 FROM u WHERE d=? OR mail=? OR d=?", "dad"},
		{"SELECT 1 FROM u WHERE mail=:address;\n ", both, "SELECT 1 FROM u WHERE mail=?", "a"},
		{"SELECT ':address', \":domain\", `:address` FROM u WHERE d=:domain", both, "SELECT ':address', \":domain\", `:address` FROM u WHERE d=?", "d"},
		{"SELECT 'it''s :address' FROM u WHERE d=:domain", both, "SELECT 'it''s :address' FROM u WHERE d=?", "d"},
		{"SELECT 1 -- :address; ?\nFROM u WHERE d=:domain", both, "SELECT 1 -- :address; ?\nFROM u WHERE d=?", "d"},
		{"SELECT 1 /* :address ? ' */FROM u WHERE d=:domain", both, "SELECT 1 /* :address ? ' */FROM u WHERE d=?", "d"},
		{"SELECT 1 /**/FROM u WHERE d=:domain", both, "SELECT 1 /**/FROM u WHERE d=?", "d"},
		{"SELECT '' FROM u WHERE d=:domain", both, "SELECT '' FROM u WHERE d=?", "d"},
		{"SELECT 1 FROM u WHERE d=:domain--", both, "SELECT 1 FROM u WHERE d=?--", "d"},
		{"SELECT 1 FROM u WHERE d=:domain -- the end", both, "SELECT 1 FROM u WHERE d=? -- the end", "d"},
		{`SELECT 'a\':address' FROM u WHERE d=:domain`, recipient.MySQL, `SELECT 'a\':address' FROM u WHERE d=?`, "d"},
		{`SELECT 'a\' FROM u WHERE d=:domain`, recipient.SQLite, `SELECT 'a\' FROM u WHERE d=?`, "d"},
		{"SELECT `a\\` FROM u WHERE d=:domain", recipient.MySQL, "SELECT `a\\` FROM u WHERE d=?", "d"},
		{"SELECT 1 # it's :address\nFROM u WHERE d=:domain", recipient.MySQL, "SELECT 1 # it's :address\nFROM u WHERE d=?", "d"},
		{"SELECT 1--1 FROM u WHERE d=:domain", recipient.MySQL, "SELECT 1--1 FROM u WHERE d=?", "d"},
		{"SELECT [it's :address] FROM u WHERE d=:domain", recipient.SQLite, "SELECT [it's :address] FROM u WHERE d=?", "d"},
		{"SELECT @@hostname, @x := 1, a$b FROM u WHERE d=:domain", recipient.MySQL, "SELECT @@hostname, @x := 1, a$b FROM u WHERE d=?", "d"},
		{"SELECT 'a\\' FROM u WHERE d::text=:domain OR m=:address OR d = :domain", recipient.Postgres, "SELECT 'a\\' FROM u WHERE d::text=$1 OR m=$2 OR d = $3", "dad"},
		{`SELECT E'a\':x', e'\\' FROM u WHERE d=:domain`, recipient.Postgres, `SELECT E'a\':x', e'\\' FROM u WHERE d=$1`, "d"},
		{"SELECT $$:x'$$, $q$ :x $$ $q$ FROM u WHERE d=:domain", recipient.Postgres, "SELECT $$:x'$$, $q$ :x $$ $q$ FROM u WHERE d=$1", "d"},
		{"SELECT 1 /* a /* :x */ :y */--:z\nFROM u WHERE j ? 'a' AND a[1] @> :domain", recipient.Postgres, "SELECT 1 /* a /* :x */ :y */--:z\nFROM u WHERE j ? 'a' AND a[1] @> $1", "d"},
		{"SELECT 1", both, "SELECT 1", ""},
		{"-- who\n(select 1) UNION (SELECT 2)", both, "-- who\n(select 1) UNION (SELECT 2)", ""},
		{"WITH b AS (SELECT :domain) SELECT * FROM b", both, "WITH b AS (SELECT ?) SELECT * FROM b", "d"},
		{"CALL receives(:address)", recipient.MySQL, "CALL receives(?)", "a"},
		{"SELECT 'ü' FROM ü WHERE ü=:address", both, "SELECT 'ü' FROM ü WHERE ü=?", "a"},
	} {
		for _, d := range dialects(tt.dialect) {
			q, err := recipient.Parse(tt.text, d)
			args := ""
			for _, a := range q.Args("a", "d") {
				args += a.(string)
			}
			if err != nil {
				t.Errorf("%s: %v", tt.text, err)
			}
			if q.SQL != tt.sql {
				t.Errorf("%s: SQL %q, want %q", tt.text, q.SQL, tt.sql)
			}
			if args != tt.args {
				t.Errorf("%s: arguments %q, want %q", tt.text, args, tt.args)
			}
			if got, want := q.HasParameters(), tt.args != ""; got != want {
				t.Errorf("%s: HasParameters is %v, want %v", tt.text, got, want)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		text    string
		dialect recipient.Dialect
		problem string
	}{
		{"SELECT 1 FROM u WHERE mail=:user", both, "has the parameter :user"},
		{"SELECT 1 FROM u WHERE mail=:zone", both, "has the parameter :zone"},
		{"SELECT 1 FROM u WHERE mail=:Zone", both, "has the parameter :Zone"},
		{"SELECT 1 FROM u WHERE mail=:Area", both, "has the parameter :Area"},
		{"SELECT 1 FROM u WHERE mail=:0", both, "has the parameter :0"},
		{"SELECT 1 FROM u WHERE mail=:9", both, "has the parameter :9"},
		{"SELECT 1 FROM u WHERE mail=:_", both, "has the parameter :_"},
		{"SELECT 1 FROM u WHERE mail=:ü", both, "has the parameter :ü"},
		{"SELECT 1 FROM u WHERE mail=:addressz", both, "has the parameter :addressz"},
		{"SELECT 1 FROM u WHERE mail=:address$", both, "has the parameter :address$"},
		{"SELECT 1 FROM u WHERE mail=:ADDRESS", both, "has the parameter :ADDRESS"},
		{"SELECT 1 FROM u WHERE mail=:address2", both, "has the parameter :address2"},
		{"SELECT 1 FROM u WHERE mail=?", both, "has the parameter ?"},
		{"SELECT 1 FROM u WHERE mail=@address", recipient.SQLite, "has the parameter @"},
		{"SELECT 1 FROM u WHERE mail=$address", recipient.SQLite, "has the parameter $"},
		{"SELECT 1; DROP TABLE u", both, "has text after the semicolon"},
		{"SELECT 'x FROM u", both, "has a quote that does not end"},
		{`SELECT 'x\'`, recipient.MySQL, "has a quote that does not end"},
		{"SELECT [x FROM u", recipient.SQLite, "has a quote that does not end"},
		{"SELECT 1 /*/ x", both, "has a comment that does not end"},
		{"SELECT 1 /* x", both, "has a comment that does not end"},
		{"SELEKT 1", both, "does not begin with SELECT"},
		{"DELETE FROM u WHERE mail=:address", both, "does not begin with SELECT"},
		{"CALL receives(:address)", recipient.SQLite, "does not begin with SELECT"},
		{"'SELECT' 1", both, "does not begin with SELECT"},
		{" \n", both, "has no statement"},
		{";", both, "has no statement"},
	} {
		for _, d := range dialects(tt.dialect) {
			if _, err := recipient.Parse(tt.text, d); err == nil || err.Error() != tt.problem {
				t.Errorf("%s: error %v, want %s", tt.text, err, tt.problem)
			}
		}
	}
}

// FuzzParse: a parsed query has a ? for each parameter and no other change, and the
// query with the names in place of the ? parses to the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"SELECT 1 FROM u WHERE mail=:address AND d=:domain;", `SELECT 'a\':address', "x", [y], @z`, "SELECT 1 -- x\n/* y */ # z\n", "::address:=:domain", "?", "'",
	} {
		f.Add(text, true)
		f.Add(text, false)
	}
	f.Fuzz(func(t *testing.T, text string, lite bool) {
		d := recipient.MySQL
		if lite {
			d = recipient.SQLite
		}
		q, err := recipient.Parse(text, d)
		if err != nil {
			return
		}
		args := q.Args(":address", ":domain")
		if len(args) == 0 && q.SQL != text && strings.TrimRight(strings.TrimSpace(text), ";") == text {
			t.Errorf("%q was changed to %q", text, q.SQL)
		}
		if n := strings.Count(text, ":address") + strings.Count(text, ":domain"); len(args) > n {
			t.Errorf("%d parameters in %q, want at most %d", len(args), text, n)
		}
		if strings.Count(q.SQL, "?") < len(args) {
			t.Errorf("%q has fewer than %d parameters", q.SQL, len(args))
		}
		if strings.Count(q.SQL, "?") == len(args) {
			again := q.SQL
			for _, a := range args {
				again = strings.Replace(again, "?", a.(string), 1)
			}
			p, err := recipient.Parse(again, d)
			if err != nil || !reflect.DeepEqual(p, q) {
				t.Errorf("%q: got %+v, error %v, want %+v", again, p, err, q)
			}
		}
	})
}
