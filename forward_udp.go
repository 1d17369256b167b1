package warren

import (
	recent "container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxDatagram is the longest payload of UDP in bytes.
const maxDatagram = 65535 - 8

// flowQueue is how many datagrams may wait for a flow to take them: while it connects, or while it is slow.
const flowQueue = 64

// flows are the sources that have sent to a forward lately.
type flows struct {
	mu       sync.Mutex
	bySource map[netip.AddrPort]*flow
	// byUse has the flows, that which was used last in front.
	byUse recent.List
}

// flow is one source: what it sends goes through a socket of its own, and what comes back by that goes to the source.
type flow struct {
	source net.Addr
	key    netip.AddrPort
	queue  chan []byte
	// ctx ends, by end, when the flow is taken out or the forward is closed.
	ctx   context.Context
	end   context.CancelFunc
	place *recent.Element
	// used is when a datagram passed last, either way, in nanoseconds of Unix time.
	used atomic.Int64
}

// serveUDP receives until the socket is closed, and hands each datagram to the flow of its source.
func (f *Forward) serveUDP() {
	fs := &flows{bySource: map[netip.AddrPort]*flow{}}
	buf := make([]byte, maxDatagram)
	for failures := 0; ; {
		n, from, err := f.packets.ReadFrom(buf)
		if err != nil {
			if !f.again(err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		fl := f.flowFrom(fs, from)
		select {
		case fl.queue <- append([]byte(nil), buf[:n]...):
		default:
			f.tally.fail(fmt.Errorf("a datagram of %v was lost: %d wait already", from, flowQueue))
		}
	}
}

// flowFrom returns the flow of a source and makes it if there is none. One too many ends that which was silent longest.
func (f *Forward) flowFrom(fs *flows, from net.Addr) *flow {
	key := from.(*net.UDPAddr).AddrPort()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fl := fs.bySource[key]
	if fl == nil {
		if len(fs.bySource) >= f.cfg.MaxConnections {
			f.tally.limited.Add(1)
			fs.end(fs.byUse.Back().Value.(*flow))
		}
		fl = &flow{source: from, key: key, queue: make(chan []byte, flowQueue)}
		fl.ctx, fl.end = context.WithCancel(f.ctx)
		fl.place = fs.byUse.PushFront(fl)
		fs.bySource[key] = fl
		f.tally.open.Add(1)
		f.tally.total.Add(1)
		f.running.Go(func() {
			defer f.tally.open.Add(-1)
			if err := f.carryUDP(fs, fl); err != nil && f.ctx.Err() == nil {
				f.tally.fail(err)
			}
		})
	}
	fs.use(fl)
	return fl
}

// use notes that a datagram passes. The caller holds the lock.
func (fs *flows) use(fl *flow) {
	fl.used.Store(time.Now().UnixNano())
	fs.byUse.MoveToFront(fl.place)
}

// end takes a flow out and ends it. The caller holds the lock.
func (fs *flows) end(fl *flow) {
	if fs.bySource[fl.key] == fl {
		delete(fs.bySource, fl.key)
		fs.byUse.Remove(fl.place)
		fl.end()
	}
}

// carryUDP carries the datagrams of one flow until it ends.
func (f *Forward) carryUDP(fs *flows, fl *flow) error {
	defer func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.end(fl)
	}()
	ctx, cancel := context.WithTimeout(fl.ctx, forwardDialTimeout)
	defer cancel()
	out, err := f.dial(ctx, "udp", f.cfg.To)
	if err != nil {
		if fl.ctx.Err() != nil {
			return nil
		}
		return err
	}
	stop := atEnd(fl.ctx, func() { _ = out.Close() }) // wakes both
	defer stop()
	var sending sync.WaitGroup
	sending.Go(func() { f.sendUDP(fl, out) })
	err = f.receiveUDP(fs, fl, out)
	fl.end()
	sending.Wait()
	_ = out.Close() // most likely closed already
	return err
}

// sendUDP passes on what the source sends, until the flow ends.
func (f *Forward) sendUDP(fl *flow, out net.Conn) {
	for {
		select {
		case b := <-fl.queue:
			n, err := out.Write(b)
			f.tally.sent.Add(uint64(max(0, n)))
			if err != nil && !errors.Is(err, net.ErrClosed) {
				f.tally.fail(err)
			}
		case <-fl.ctx.Done():
			return
		}
	}
}

// receiveUDP passes on what comes back, until the flow has been silent for too long or has ended.
func (f *Forward) receiveUDP(fs *flows, fl *flow, out net.Conn) error {
	buf := make([]byte, maxDatagram)
	for {
		// The time is that of the last datagram either way, so that one deadline after another comes closer to the end.
		if err := out.SetReadDeadline(time.Unix(0, fl.used.Load()).Add(f.cfg.IdleTimeout)); err != nil {
			return unlessClosed(err)
		}
		n, err := out.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if fs.endIdle(fl, f.cfg.IdleTimeout) {
				return nil
			}
			continue
		case isUnreachable(err):
			f.tally.fail(err) // of one datagram; the next may find somebody
			continue
		case err != nil:
			return unlessClosed(err)
		}
		fs.mu.Lock()
		fs.use(fl)
		fs.mu.Unlock()
		if n, err = f.packets.WriteTo(buf[:n], fl.source); err != nil {
			if unlessClosed(err) == nil {
				return nil
			}
			f.tally.fail(err)
		}
		f.tally.received.Add(uint64(max(0, n)))
	}
}

// endIdle ends a flow unless a datagram has passed in the meantime.
func (fs *flows) endIdle(fl *flow, timeout time.Duration) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if time.Since(time.Unix(0, fl.used.Load())) < timeout {
		return false
	}
	fs.end(fl)
	return true
}

// isUnreachable says whether an error is what ICMP told about a datagram sent before.
func isUnreachable(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// unlessClosed is an error but for that of a connection which we closed ourselves.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
