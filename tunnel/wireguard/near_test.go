package wireguard_test

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/internal/prefetch"
)

// TestNear: the list has the peer with its path after each move, and nothing where it has no session.
func TestNear(t *testing.T) {
	d := newDuo(t)
	var list, fresh prefetch.List
	d.a.peer.KeepNear(&list)
	if !list.Has(unsafe.Pointer(d.a.peer)) || !list.Has(unsafe.Pointer(d.a.peer.Path())) {
		t.Error("a peer with a session does not keep itself near")
	}
	moved := &dataplane.Path{Underlay: d.a.peer.Path().Underlay, Remote: netip.MustParseAddrPort("192.0.2.77:51820")}
	d.a.peer.SetPath(moved)
	if !list.Has(unsafe.Pointer(moved)) {
		t.Error("after a move the list has not the new path")
	}
	d.a.peer.KeepNear(&fresh)
	if !fresh.Has(unsafe.Pointer(moved)) {
		t.Error("a new list is empty")
	}
	d.a.peer.Close()
	if fresh.Has(unsafe.Pointer(d.a.peer)) {
		t.Error("a peer that is closed keeps itself near")
	}
}
