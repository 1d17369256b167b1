package warren

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// exhausted is a listener that has no descriptors for a while.
type exhausted struct {
	net.Listener
	failures int
	asked    []time.Time
	closed   chan struct{}
}

func (l *exhausted) Accept() (net.Conn, error) {
	l.asked = append(l.asked, time.Now())
	if l.failures--; l.failures >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *exhausted) Close() error {
	close(l.closed)
	return nil
}

// TestForwardPausesWhenItCannotAccept: pauses grow up to a second, and Close does not wait for them.
func TestForwardPausesWhenItCannotAccept(t *testing.T) {
	for _, c := range []struct {
		name     string
		failures int
		after    time.Duration
	}{{"until it can", 12, time.Hour}, {"until it is closed", 1000, 30*time.Second + time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &exhausted{failures: c.failures, closed: make(chan struct{})}
				f := &Forward{cfg: ForwardConfig{MaxConnections: 1}, listener: l, done: make(chan struct{}), forget: func() {}, log: slog.New(slog.DiscardHandler)}
				f.ctx, f.cancel = context.WithCancel(t.Context())
				f.start()
				time.Sleep(c.after)
				synctest.Wait()
				before := time.Now()
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(before); took != 0 {
					t.Errorf("closing took %v", took)
				}
				<-f.Done()
				for i := 1; i < len(l.asked); i++ {
					want := min(maxAcceptPause, minAcceptPause<<min(i-1, 20))
					if pause := l.asked[i].Sub(l.asked[i-1]); pause != want {
						t.Errorf("pause %d is %v, want %v", i, pause, want)
					}
				}
				if n := f.Status().Errors; int(n) < 12 || int(n) != min(c.failures, len(l.asked)) {
					t.Errorf("%d errors, asked %d times", n, len(l.asked))
				}
			})
		})
	}
}

// TestForwardCountsWhatPassed: also when writing fails half way.
func TestForwardCountsWhatPassed(t *testing.T) {
	var n atomic.Uint64
	w := counted{half{}, &n}
	if _, err := w.Write(make([]byte, 10)); !errors.Is(err, errHalf) || n.Load() != 5 {
		t.Errorf("%d bytes, %v", n.Load(), err)
	}
}

var errHalf = errors.New("half of it")

// half writes half of what it is given.
type half struct{}

func (half) Write(b []byte) (int, error) { return len(b) / 2, errHalf }
