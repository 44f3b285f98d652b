package smtpd

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"goguerrillad/internal/session"
	"goguerrillad/internal/smtp"
)

// acceptBatch bounds the connections accepted in one round; the rest is seen
// in the next.
const acceptBatch = 16

// Bounds of the pause after an accept that failed for want of something.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// listen watches the listening sockets. Each is watched by every loop;
// EPOLLEXCLUSIVE keeps a new connection from waking them all.
func (l *loop) listen() error {
	for i, fd := range l.listeners {
		if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, int32(^i)); err != nil {
			return err
		}
	}
	return nil
}

// deafen ends that.
func (l *loop) deafen() {
	for _, fd := range l.listeners {
		// Fails for a socket that is not watched, which is what is wanted.
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// relisten changes the listening sockets.
func (l *loop) relisten(listeners []int) error {
	l.deafen()
	l.listeners = listeners
	if l.draining || l.backoff > 0 { // for good, or until resumeAccept
		return nil
	}
	return l.listen()
}

// accept takes what is waiting on a listening socket.
func (l *loop) accept(listener int) {
	for range acceptBatch {
		if l.backoff > 0 || l.draining {
			return
		}
		// Not unix.Accept4, which spends a getsockopt on each connection.
		fd, from, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch err {
		case nil:
			l.server.counters.accepted.Add(1)
			l.welcome(fd, addrPort(from))
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			l.pauseAccept(err)
		default:
			// The connection went away before it was accepted, or the network
			// reports an error on it (accept(2)): the next one may be well.
			l.server.counters.acceptErrors.Add(1)
			if !transient(err) {
				l.pauseAccept(err)
			}
		}
	}
}

// transient reports whether an error of accept4 concerns one connection only.
func transient(err error) bool {
	switch err {
	case unix.ECONNABORTED, unix.EINTR, unix.EPERM, unix.EPROTO, unix.ENOPROTOOPT,
		unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET, unix.EOPNOTSUPP:
		return true
	}
	return false
}

// pauseAccept stops listening for a while that doubles each time, since a
// socket that stays readable would make the loop spin. Clients wait in the
// backlog.
func (l *loop) pauseAccept(err error) {
	l.server.counters.acceptErrors.Add(1)
	if !l.server.starved.Swap(true) {
		l.server.log.Error("cannot accept connections, trying again until it works", "error", err)
	}
	l.deafen()
	l.backoff = min(max(minBackoff, 2*l.lastBackoff), maxBackoff)
	l.lastBackoff = l.backoff
	l.resumeAt = l.now + l.backoff
}

// resumeAccept listens again.
func (l *loop) resumeAccept() {
	l.backoff = 0
	if l.draining {
		return
	}
	if err := l.listen(); err != nil {
		l.pauseAccept(err)
	}
}

// welcome makes a session of a new connection, or turns it away.
func (l *loop) welcome(fd int, peer netip.AddrPort) {
	if l.lastBackoff > 0 {
		l.lastBackoff = 0
		if l.server.starved.Swap(false) {
			l.server.log.Info("accepting connections again")
		}
	}
	refusal, counted := l.server.admit(peer.Addr())
	if refusal != nil {
		l.turnAway(fd, refusal)
		return
	}
	l.generation = max(1, l.generation+1) // never 0, wraps to 1
	c := &conn{
		loop:       l,
		fd:         fd,
		generation: l.generation,
		peer:       peer,
		counted:    counted,
		interest:   unix.EPOLLIN,
		moved:      l.now,
		memory:     claim{budget: &l.server.budget, buffers: &l.buffers},
	}
	c.timer.conn = c
	c.session = session.New(l.server.world, &c.memory, l.server.NewID(), peer)
	c.session.OnMove(c.move) // also of a stranger: a reload may make it a trusted proxy
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	l.live++
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, c.interest, c.generation); err != nil {
		l.server.log.Error("cannot watch a connection", "remote", peer, "error", err)
		c.close()
		return
	}
	if l.server.settings.Load().ProxyProtocol {
		c.meet(l.server.trusts(peer.Addr()))
		return
	}
	l.guarded(c, func() { c.welcomed(nil, c.session.Greet(l.out[:0])) })
}

// turnAway tells a client that it cannot be served. It is sent what fits and
// closed at once: who is not served cannot hold anything.
func (l *loop) turnAway(fd int, reply *smtp.Reply) {
	_, _ = unix.Write(fd, reply.Append(l.out[:0]))
	// Input that nobody read would turn the close into a reset.
	_, _, _ = unix.Recvfrom(fd, l.scratch, unix.MSG_DONTWAIT)
	unix.Close(fd)
}

// addrPort returns the client's address; it is invalid on a unix socket.
func addrPort(from syscall.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
