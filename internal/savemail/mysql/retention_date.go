package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"goguerrillad/internal/envelope"
	"goguerrillad/internal/savemail/newmail"
)

// An oldRow is a row whose date is old enough.
type oldRow struct {
	key, body string
	mail      []byte // the beginning of the column
	date      string // as the server shows it
	surely    bool   // the date is old enough in every time zone
}

// oldRows returns the next rows whose date is before a time by a margin, oldest first.
func (e *expiry) oldRows(ctx context.Context, t table, before time.Time, margin time.Duration) ([]oldRow, error) {
	head := fmt.Sprintf("LEFT(%s,IF(%s IN ('%s','%s'),%d,%d))", e.has.Column("mail"), e.has.Text("body"),
		newmail.BodyZlib, newmail.BodyGzip, 2*newmail.MaxHead, newmail.MaxHead)
	age := int64(time.Since(before) / time.Second)
	rows, err := e.QueryContext(ctx, fmt.Sprintf("SELECT %s,%s,%s,CAST(`date` AS CHAR),`date`<NOW()-INTERVAL %d SECOND FROM %s WHERE `date`<NOW()-INTERVAL %d SECOND ORDER BY `date` LIMIT %d OFFSET %d",
		quote(e.key), e.has.Text("body"), head, age+int64(maxZones/time.Second), t, age+int64(margin/time.Second), e.piece, e.stay))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []oldRow
	for rows.Next() {
		var r oldRow
		if err := rows.Scan(&r.key, &r.body, &r.mail, &r.date, &r.surely); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// maxZones is the largest difference between two time zones.
const maxZones = 26 * time.Hour

// unsure reports whether the message may be too young: it is in Redis with its Received field,
// and the time zone of the server may have changed since.
func (r oldRow) unsure() bool { return r.body == newmail.BodyRedis && !r.surely }

// due reports whether a row whose date is before a time has arrived before it. The date is
// wrong if the time zone of the server has changed since, and ambiguous when summer time
// ends. The Received field then has the time of arrival. A date that does not agree with
// it was set by another program, and decides, if the time zone cannot have changed since.
func (e *expiry) due(ctx context.Context, r oldRow, before time.Time) (bool, error) {
	if r.unsure() {
		return false, nil
	}
	arrived, known := envelope.Arrived(newmail.ExpandHead(r.body, r.mail))
	if !known || !arrived.After(before) {
		return true, nil
	}
	if e.start.IsZero() || arrived.Before(e.start) {
		return false, nil
	}
	var system bool
	var apart sql.NullInt64 // seconds
	err := e.QueryRowContext(ctx, fmt.Sprintf("SELECT @@global.time_zone='SYSTEM' AND @@session.time_zone='SYSTEM',"+
		"ABS(TIMESTAMPDIFF(SECOND,FROM_UNIXTIME(%d),%s))", arrived.Unix(), literal(r.date))).Scan(&system, &apart)
	return system && apart.Int64 > maxApart, err
}

// maxApart is how many seconds the clocks of the daemon and of the server may differ.
const maxApart = 60
