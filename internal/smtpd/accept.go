package smtpd

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// acceptBatch is the maximum number of connections that one round accepts; the
// next round accepts the rest.
const acceptBatch = 16

// Bounds of the pause after an accept error that is not transient.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// watchListeners starts accepting. Every loop watches every listening socket;
// with EPOLLEXCLUSIVE a new connection does not wake all of them.
func (l *loop) watchListeners() error {
	for i, listener := range l.listeners {
		if err := l.watch(unix.EPOLL_CTL_ADD, listener.FD, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, int32(^i)); err != nil {
			return err
		}
	}
	return nil
}

// unwatchListeners stops accepting.
func (l *loop) unwatchListeners() {
	for _, listener := range l.listeners {
		// An error only means that the socket is not watched.
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, listener.FD, nil)
	}
}

// relisten replaces the listening sockets.
func (l *loop) relisten(listeners []Listener) error {
	l.unwatchListeners()
	l.listeners = listeners
	if l.draining || l.backoff > 0 { // permanently, or until resumeAccept
		return nil
	}
	return l.watchListeners()
}

// accept accepts the connections that wait on a listening socket.
func (l *loop) accept(listener Listener) {
	for range acceptBatch {
		if l.backoff > 0 || l.draining {
			return
		}
		// unix.Accept4 would make a getsockopt call for each connection.
		fd, from, err := syscall.Accept4(listener.FD, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch {
		case err == nil:
			l.server.counters.accepted.Add(1)
			l.newConn(fd, addrPort(from), listener.TLS)
		case err == unix.EAGAIN:
			return
		case transient(err):
			l.server.counters.acceptErrors.Add(1)
		default: // above all EMFILE, ENFILE, ENOMEM and ENOBUFS
			l.pauseAccept(err)
		}
	}
}

// transient reports whether an error of accept4 concerns only one connection: the
// client closed it before it was accepted, or the network failed (accept(2)).
func transient(err error) bool {
	switch err {
	case unix.ECONNABORTED, unix.EINTR, unix.EPERM, unix.EPROTO, unix.ENOPROTOOPT,
		unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// pauseAccept counts an error and stops accepting for a time that doubles with
// each call: a listening socket that stays readable would make the loop spin. New
// connections wait in the backlog.
func (l *loop) pauseAccept(err error) {
	l.server.counters.acceptErrors.Add(1)
	if !l.server.acceptFailing.Swap(true) {
		l.server.log.Error("cannot accept connections, retrying", "error", err)
	}
	l.unwatchListeners()
	l.backoff = min(max(minBackoff, 2*l.lastBackoff), maxBackoff)
	l.lastBackoff = l.backoff
	l.resumeAt = l.now + l.backoff
}

// resumeAccept starts accepting again after a pause.
func (l *loop) resumeAccept() {
	l.backoff = 0
	if l.draining {
		return
	}
	if err := l.watchListeners(); err != nil {
		l.pauseAccept(err)
	}
}

// newConn starts the session of a new connection or refuses it.
func (l *loop) newConn(fd int, peer netip.AddrPort, implicitTLS bool) {
	if l.lastBackoff > 0 {
		l.lastBackoff = 0
		if l.server.acceptFailing.Swap(false) {
			l.server.log.Info("accepting connections again")
		}
	}
	refusal, counted := l.server.admit(peer.Addr())
	if refusal != nil {
		l.refuse(fd, refusal, implicitTLS)
		return
	}
	l.generation = max(1, l.generation+1) // never 0, wraps to 1
	c := &conn{
		loop:         l,
		fd:           fd,
		generation:   l.generation,
		peer:         peer,
		counted:      counted,
		implicitTLS:  implicitTLS,
		interest:     unix.EPOLLIN,
		lastProgress: l.now,
		memory:       claim{budget: &l.server.budget, buffers: &l.buffers},
	}
	c.timer.conn = c
	c.session = session.New(l.server.environment, &c.memory, l.server.NewID(), peer)
	c.session.OnClientAddress(c.setClientAddress) // for untrusted peers as well: a reload may change that
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	l.live++
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, c.interest, c.generation); err != nil {
		l.server.log.Error("cannot watch the connection, closing it", "remote", peer, "error", err)
		c.close()
		return
	}
	if l.server.settings.Load().ProxyProtocol {
		c.awaitHeader(l.server.trusts(peer.Addr()))
		return
	}
	l.guarded(c, func() { c.greet(nil) })
}

// refuse sends a client the reply and closes its connection immediately, even if
// the socket does not accept all of the reply: a refused client must not hold any
// resources. A client that expects TLS receives no reply, which it could not read.
func (l *loop) refuse(fd int, reply *smtp.Reply, implicitTLS bool) {
	if !implicitTLS {
		_, _ = unix.Write(fd, reply.Append(l.out[:0]))
	}
	// Unread input would make close send a reset, which can destroy the reply.
	_, _, _ = unix.Recvfrom(fd, l.scratch, unix.MSG_DONTWAIT)
	unix.Close(fd)
}

// addrPort returns the peer's address; it is not valid for a unix socket.
func addrPort(from syscall.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
