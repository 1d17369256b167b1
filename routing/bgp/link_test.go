package bgp

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

// deafConn takes nothing, and has something to read that comes a moment later.
type deafConn struct {
	net.Conn
	said   []byte
	once   sync.Once
	closed chan struct{}
}

var errDeaf = errors.New("broken pipe")

func (c *deafConn) Write([]byte) (int, error) { return 0, errDeaf }

func (c *deafConn) Read(b []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case <-time.After(10 * time.Millisecond):
	}
	if len(c.said) == 0 {
		<-c.closed
		return 0, net.ErrClosed
	}
	n := copy(b, c.said)
	c.said = c.said[n:]
	return n, nil
}

func (c *deafConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// TestWhyTheNeighborClosed: who cannot write any more still reads what the neighbour said before, and only then why it could not.
func TestWhyTheNeighborClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := message.AppendNotification(nil, message.CodeCease, message.CeaseAdminShutdown, nil)
		l := newLink(1, &deafConn{said: said, closed: make(chan struct{})}, newClock(), new(counters), &newPools().buffers)
		into := make(chan chunk)
		var tasks sync.WaitGroup
		tasks.Go(func() { l.read(into) })
		tasks.Go(l.write)
		began := time.Now()
		l.send(message.AppendKeepalive(nil))
		if c := <-into; !bytes.Equal(c.data, said) {
			t.Errorf("read %x and %v, want %x", c.data, c.err, said)
		}
		if c := <-into; !errors.Is(c.err, errDeaf) {
			t.Errorf("read %x and %v, want %v", c.data, c.err, errDeaf)
		}
		if took := time.Since(began); took > linger {
			t.Errorf("the end came after %v", took)
		}
		tasks.Wait()
	})
}
