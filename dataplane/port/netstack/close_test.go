package netstack

import (
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/warrenvpn/warren/dataplane/packet"
	"github.com/warrenvpn/warren/internal/until"
)

// A stack that has connections in every state, TIME_WAIT among them, goes at once and leaves nothing behind.
func TestStartAndStopLeavesNothing(t *testing.T) {
	here := goleak.IgnoreCurrent()
	for range 50 {
		p := newPair(t)
		addr := listen(t, p.b, b4, func(c net.Conn) { io.Copy(io.Discard, c); c.Close() })
		done := dial(t, p.a, "tcp", addr)
		io.WriteString(done, "x")
		done.(*tcpConn).CloseWrite()
		io.ReadAll(done) // ours is the side that waits
		done.Close()
		dial(t, p.a, "tcp", addr)
		dial(t, p.a, "udp", "10.9.0.2:9")
		p.close()
	}
	if !until.Holds(patience, func() bool { return goleak.Find(here) == nil }) {
		t.Error(goleak.Find(here))
	}
}

// Workers go on reading and writing while the port is closed under them.
func TestCloseWhileWorkersWork(t *testing.T) {
	for range 20 {
		p := newPort(t, config("a", a4, a6))
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			w := p.NewWriter()
			for {
				select {
				case <-stop:
					return
				default:
					w.Write(packets(udpPacket(a4, 9, 100), tcpPacket(b4, a4, 1, 2, 0, nil), tcpPacket(b6, a6, 1, 2, 0, nil)))
				}
			}
		}()
		b := packet.NewBatch(1 << 17)
		if err := p.Readers()[0].Read(b); err != nil { // answers have come
			t.Fatal(err)
		}
		p.Close()
		close(stop)
		<-stopped
	}
}
