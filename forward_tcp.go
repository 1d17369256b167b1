package warren

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// forwardDialTimeout is how long connecting may take.
const forwardDialTimeout = 30 * time.Second

// serveTCP accepts until the listener is closed.
func (f *Forward) serveTCP() {
	for failures := 0; ; {
		conn, err := f.listener.Accept()
		if err != nil {
			if !f.again(err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		if f.tally.open.Load() >= int64(f.cfg.MaxConnections) {
			f.tally.limited.Add(1)
			abort(conn)
			continue
		}
		f.tally.open.Add(1)
		f.tally.total.Add(1)
		f.running.Go(func() {
			defer f.tally.open.Add(-1)
			if err := f.carry(conn); err != nil && f.ctx.Err() == nil {
				f.tally.fail(err)
				f.log.Debug("forwarded connection failed", "from", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// carry connects to the other side and copies both ways until both have ended. It closes in.
func (f *Forward) carry(in net.Conn) error {
	stop := atEnd(f.ctx, func() { abort(in) })
	defer stop()
	ctx, cancel := context.WithTimeoutCause(f.ctx, forwardDialTimeout, fmt.Errorf("no answer within %v", forwardDialTimeout))
	defer cancel()
	out, err := f.dial(ctx, "tcp", f.cfg.To)
	if err != nil {
		abort(in)
		return err
	}
	stopOut := atEnd(f.ctx, func() { abort(out) })
	defer stopOut()
	// A peer that is gone without a word must not hold a connection for ever.
	keepAlive(in)
	keepAlive(out)
	return join(in, out, &f.tally.sent, &f.tally.received)
}

// join copies from a to b and from b to a, and counts. The end of one direction is told to the receiver, and the other goes
// on; a failure is told both by a reset. It closes both connections.
func join(a, b net.Conn, ab, ba *atomic.Uint64) error {
	var once sync.Once
	var failed error
	one := func(to, from net.Conn, count *atomic.Uint64) {
		// Neither may be more than a reader and a writer, else copying would pass by the count.
		_, err := io.Copy(counted{to, count}, struct{ io.Reader }{from})
		if err == nil {
			// Fails only where the connection is gone, of which the other direction learns itself.
			_ = to.(interface{ CloseWrite() error }).CloseWrite()
			return
		}
		once.Do(func() {
			failed = err
			abort(a)
			abort(b)
		})
	}
	var back sync.WaitGroup
	back.Go(func() { one(a, b, ba) })
	one(b, a, ab)
	back.Wait()
	_, _ = a.Close(), b.Close() // closed already where it failed
	return failed
}

// atEnd is context.AfterFunc, but stop waits where f has begun, so that it is gone when the caller is.
func atEnd(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !stopped() {
			<-done
		}
	}
}

// counted is a writer that counts what it has written.
type counted struct {
	w io.Writer
	n *atomic.Uint64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(uint64(max(0, n)))
	return n, err
}

// abort closes a connection by a reset where it can: its peer must not take what was cut off for all there is.
func abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = l.SetLinger(0) // fails only where the connection is gone
	}
	_ = c.Close()
}

func keepAlive(c net.Conn) {
	if k, ok := c.(interface{ SetKeepAlive(on bool) error }); ok {
		_ = k.SetKeepAlive(true) // fails only where the connection is gone
	}
}
