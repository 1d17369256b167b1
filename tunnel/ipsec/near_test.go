package ipsec_test

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/esp"
	"github.com/warrenvpn/warren/internal/prefetch"
	"github.com/warrenvpn/warren/tunnel/ipsec"
)

// TestNear: the list has the SA that seals and the path, after each change of them, and nothing where there is nothing to seal
// with.
func TestNear(t *testing.T) {
	s := setup{}
	s.defaults()
	gateway := ipsec.NewGateway(ipsec.Options{})
	tunnel := gateway.NewTunnel(1, ipsec.Config{Name: "near"})
	var list prefetch.List
	tunnel.KeepNear(&list)
	has := func(what string, sa *esp.Outbound, path *dataplane.Path) {
		t.Helper()
		if got := list.Has(unsafe.Pointer(tunnel)); got != (sa != nil) {
			t.Errorf("%s: the tunnel itself: %v", what, got)
		}
		if sa != nil && (!list.Has(unsafe.Pointer(sa)) || !list.Has(unsafe.Pointer(path))) {
			t.Errorf("%s: SA %v, path %v", what, list.Has(unsafe.Pointer(sa)), list.Has(unsafe.Pointer(path)))
		}
	}
	has("new", nil, nil)
	first, second := newChild(t, s, 0), newChild(t, s, 1)
	if err := tunnel.AddChild(first); err != nil {
		t.Fatal(err)
	}
	has("without a path", nil, nil)
	path := &dataplane.Path{Underlay: &recorder{}, Remote: netip.MustParseAddrPort("192.0.2.2:4500")}
	tunnel.SetPath(path)
	has("keyed", first.Out, path)
	moved := &dataplane.Path{Underlay: &recorder{}, Remote: netip.MustParseAddrPort("192.0.2.3:4500")}
	tunnel.SetPath(moved)
	has("moved", first.Out, moved)
	if err := tunnel.AddChild(second); err != nil {
		t.Fatal(err)
	}
	tunnel.Prefer(second, first)
	has("keyed anew", second.Out, moved)
	tunnel.RemoveChild(second)
	tunnel.RemoveChild(first)
	has("without an SA", nil, nil)
}

// TestCacheLines: what workers read of a tunnel is in one line each.
func TestCacheLines(t *testing.T) {
	if s := ipsec.Sizes; s != [2]uintptr{64, 64} {
		t.Errorf("a tunnel has %d bytes, its snapshot %d", s[0], s[1])
	}
	if n := unsafe.Sizeof(esp.Outbound{}); n != 2*64 {
		t.Errorf("an outbound SA has %d bytes", n)
	}
}
