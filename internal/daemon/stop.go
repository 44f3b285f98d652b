package daemon

import "context"

// stop closes everything in the order of a message's way. When ctx is done it
// continues without waiting; a message that is lost then was not acknowledged.
//
//  1. auth_http, so that nginx sends no more clients here.
//  2. The listening sockets. If they are the daemon's own, new clients connect to
//     another exchanger; if they are systemd's, new clients wait for the next process.
//  3. The sessions, after the transactions in flight.
//  4. The connections of GM_RECIPIENT_QUERY, which only sessions and auth_http
//     use. SQLite merges the WAL into the file only when the store's connection
//     is the last one.
//  5. The Committer: each submitted message gets its outcome, and the store closes
//     after a last attempt to settle unknown outcomes.
//  6. The metrics, which report until then.
//
// Run closes the log last.
func (d *daemon) stop(ctx context.Context) {
	timedOut := func(what string, err error) {
		if err != nil {
			d.log.Warn("shutdown timed out", "part", what, "error", err)
		}
	}
	timedOut("auth_http", d.authServer.stop(ctx))
	d.authHTTP.Close()
	if err := d.server.Relisten(nil); err != nil {
		d.log.Error("cannot stop listening", "error", err)
	}
	closeExcept(d.sockets, nil)
	timedOut("sessions", d.server.Shutdown(ctx))
	d.recipients.Close() // within the timeout of a query
	timedOut("store", d.committer.Drain(ctx))
	d.repeats.Close()
	d.report()
	d.metrics.Close()
	timedOut("metrics", d.statusServer.stop(ctx))
}
