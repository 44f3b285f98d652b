package storetest

import (
	"regexp"
	"strings"

	"goguerrillad/internal/test"
)

// A Table is a table as operators have it.
type Table struct {
	Name string
	sql  string // CREATE TABLE `new_mail` in the SQL of MySQL
}

// later has the columns of a table of go-guerrilla 1.5 and later, for its processor
// sql.
const later = "CREATE TABLE `new_mail` (\n" +
	"  `mail_id` bigint NOT NULL auto_increment,\n" +
	"  `message_id` varchar(256) NOT NULL,\n" +
	"  `date` datetime NOT NULL,\n" +
	"  `from` varchar(256) NOT NULL,\n" +
	"  `to` varchar(256) NOT NULL,\n" +
	"  `reply_to` varchar(256) NULL,\n" +
	"  `sender` varchar(256) NULL,\n" +
	"  `subject` varchar(255) NOT NULL,\n" +
	"  `body` varchar(16) NOT NULL,\n" +
	"  `mail` longblob NOT NULL,\n" +
	"  `spam_score` float NOT NULL,\n" +
	"  `hash` char(32) NOT NULL,\n" +
	"  `content_type` varchar(64) NOT NULL,\n" +
	"  `recipient` varchar(255) NOT NULL,\n" +
	"  `has_attach` int NOT NULL,\n" +
	"  `ip_addr` varbinary(16) NOT NULL,\n" +
	"  `return_path` varchar(255) NOT NULL,\n" +
	"  `is_tls` bit(1) NOT NULL default b'0',\n" +
	"  PRIMARY KEY  (`mail_id`),\n" +
	"  KEY `to` (`to`),\n" +
	"  KEY `hash` (`hash`),\n" +
	"  KEY `date` (`date`)\n" +
	") DEFAULT CHARSET=utf8mb4;\n"

// minimal has only the columns that the daemon needs.
const minimal = "CREATE TABLE `new_mail` (\n" +
	"  `recipient` varchar(255) NOT NULL,\n" +
	"  `mail` longblob NOT NULL,\n" +
	"  `hash` char(32) NOT NULL\n" +
	") DEFAULT CHARSET=utf8mb4;\n"

// Tables returns tables of different programs and operators.
func Tables(t test.T) []Table {
	t.Helper()
	of2012 := test.ReadSource(t, "internal/test/storetest/new_mail_2012.sql")
	widened := strings.NewReplacer("latin1", "utf8mb4", "CHARSET=utf8", "CHARSET=utf8mb4", "varchar(128)", "varchar(255)", "varchar(15)", "varchar(45)",
		"`subject` varchar(255)", "`subject` text").Replace(of2012)
	shipped := test.ReadSource(t, "internal/savemail/mysql/new_mail.sql")
	more := "  `charset` varchar(32) NOT NULL,\n  `mail` longblob"
	every := strings.NewReplacer("  `mail` longblob", more, "varbinary(16)", "varchar(45)",
		"  PRIMARY KEY", "  `attach_info` text NOT NULL,\n  `delivered` bit(1) NOT NULL default b'0',\n  `dkim_valid` tinyint(4) default NULL,\n"+
			"  `helo` varchar(255) NOT NULL,\n  `size` int NOT NULL,\n  `tls` varchar(64) NOT NULL,\n  `login` varchar(255) NOT NULL,\n"+
			"  `proxy` varchar(45) NOT NULL,\n  `mine` varchar(9) NULL,\n  PRIMARY KEY").Replace(later)
	return []Table{
		{"2012", of2012},
		{"2012, widened", widened},
		{"shipped", shipped},
		{"later, processor sql", later},
		{"later, processor guerrillaredisdb", strings.NewReplacer("  `mail` longblob", more, "varbinary(16)", "varchar(45)").Replace(later)},
		{"minimal", minimal},
		{"every column", every},
	}
}

// MySQL returns the statement that creates the table with this name in MySQL. The name
// is quoted if necessary.
func (t Table) MySQL(name string) string { return strings.Replace(t.sql, "`new_mail`", name, 1) }

// SQLite returns the statement that creates the table new_mail in SQLite.
func (t Table) SQLite() string {
	s := t.sql[:strings.LastIndexByte(t.sql, ')')+1]
	for _, change := range [][2]string{
		{" character set [a-z0-9]+", ""},
		{"`mail_id` .*auto_increment", "`mail_id` INTEGER PRIMARY KEY AUTOINCREMENT"},
		{"b'0'", "0"},
		{"\n +(PRIMARY )?KEY .*", ""},
		{",\n\\)", "\n)"},
	} {
		s = regexp.MustCompile(change[0]).ReplaceAllString(s, change[1])
	}
	return s
}
