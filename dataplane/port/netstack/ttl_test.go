package netstack

import (
	"net/netip"
	"testing"
)

// TestTTL: what was set is what comes, in both families, and another one later.
func TestTTL(t *testing.T) {
	p := newPair(t)
	server, err := p.b.ListenTTL("udp", ":3784")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, end := range [][2]netip.Addr{{a4, b4}, {a6, b6}} {
		c, err := p.a.DialTTL(netip.AddrPortFrom(end[0], 49152), netip.AddrPortFrom(end[1], 3784))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, want := range []uint8{255, 7} {
			if err := c.SetTTL(want); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, from, ttl, err := server.ReadTTL(buf)
			if err != nil || string(buf[:n]) != "hello" || from != netip.AddrPortFrom(end[0], 49152) || ttl != want {
				t.Fatalf("%q from %v with TTL %d, %v; want %d", buf[:n], from, ttl, err, want)
			}
		}
	}
}
