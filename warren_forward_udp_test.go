package warren_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/warrenvpn/warren"
)

// echo answers every datagram, until the test ends.
func echo(t *testing.T, pc net.PacketConn, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(buf[:n], from)
		}
	}()
	return pc.LocalAddr().String()
}

// ask sends a datagram and wants it back.
func ask(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65535)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != text {
		t.Errorf("%q came back as %q: %v", text, buf[:n], err)
	}
}

// TestForwardUDP: both ways round; each source has its own flow, which ends when it has been silent.
func TestForwardUDP(t *testing.T) {
	host, err := net.ListenPacket("udp", "127.0.0.1:0")
	service := echo(t, host, err)
	out, into := forwardTo("10.2.0.1:53"), warren.ForwardConfig{Listen: netip.MustParseAddrPort("10.1.0.1:53"), To: service}
	out.Protocol, into.Protocol = "udp", "udp"
	out.IdleTimeout, into.IdleTimeout = 5*time.Second, time.Hour // longer than a machine stands still
	a, b, stop := forwardSites(t, out, into)
	defer stop()
	far, err := b.ListenPacket("udp", "10.2.0.1:53")
	echo(t, far, err)

	var sources []net.Conn
	for i := range 5 {
		c, err := net.Dial("udp", forwardStatus(t, a, 0).Listen.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		sources = append(sources, c)
		ask(t, c, fmt.Sprintf("question %d", i))
	}
	c, err := b.DialContext(t.Context(), "udp", "10.1.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		ask(t, c, "from behind the tunnel")
	}
	eventually(t, "all bytes are counted", patience, func() bool {
		s := forwardStatus(t, a, 0)
		return s.Total == 5 && s.SentBytes == 50 && s.ReceivedBytes == 50 && s.Protocol == "udp"
	})
	eventually(t, "silent flows end", patience, func() bool { return forwardStatus(t, a, 0).Open == 0 })
	ask(t, sources[0], "again")
	if s := forwardStatus(t, a, 0); s.Total != 6 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
	if s := forwardStatus(t, a, 1); s.Total != 1 || s.Open != 1 || s.In != "stack" || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
}

// TestForwardUDPLimit: one source too many ends the flow that was silent longest, and all are served.
func TestForwardUDPLimit(t *testing.T) {
	f := forwardTo("10.2.0.1:53")
	f.Protocol, f.MaxConnections = "udp", 2
	a, b, stop := forwardSites(t, f)
	defer stop()
	far, err := b.ListenPacket("udp", "10.2.0.1:53")
	echo(t, far, err)
	var sources [3]net.Conn
	for i := range sources {
		if sources[i], err = net.Dial("udp", forwardStatus(t, a, 0).Listen.String()); err != nil {
			t.Fatal(err)
		}
		defer sources[i].Close()
	}
	for _, i := range []int{0, 1, 0, 2, 0} { // the third source ends the second one's flow
		ask(t, sources[i], fmt.Sprint("source ", i))
	}
	eventually(t, "the flow has ended", patience, func() bool { return forwardStatus(t, a, 0).Open == 2 })
	if s := forwardStatus(t, a, 0); s.Total != 3 || s.Limited != 1 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
}

// TestForwardUDPToNobody: an unreachable port is an error of a datagram, and the flow goes on.
func TestForwardUDPToNobody(t *testing.T) {
	f := forwardTo("10.2.0.1:54")
	f.Protocol = "udp"
	a, b, stop := forwardSites(t, f)
	defer stop()
	c, err := net.Dial("udp", forwardStatus(t, a, 0).Listen.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("anybody?")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error is told", patience, func() bool {
		s := forwardStatus(t, a, 0)
		return s.Errors == 1 && strings.Contains(s.LastError, "refused") && s.Open == 1
	})
	far, err := b.ListenPacket("udp", "10.2.0.1:54")
	echo(t, far, err)
	ask(t, c, "now?")
	if s := forwardStatus(t, a, 0); s.Total != 1 {
		t.Errorf("%+v", s)
	}
}
