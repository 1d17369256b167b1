package warren

import (
	"net/netip"
	"slices"

	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
	"github.com/warrenvpn/warren/tunnel/wireguard/handshake"
	"github.com/warrenvpn/warren/tunnel/wireguard/uapi"
)

// allow has a peer's routes follow its allowed addresses.
func (t *tunnel) allow(was, is []netip.Prefix) {
	var changes []router.Change
	for _, p := range was {
		if !slices.Contains(is, p) {
			changes = append(changes, router.Change{Prefix: p, Path: route.Path{Peer: t.allowed}, Withdraw: true})
		}
	}
	for _, p := range is {
		if !slices.Contains(was, p) {
			changes = append(changes, router.Change{Prefix: p, Path: route.Path{Peer: t.allowed, Via: t.via}})
		}
	}
	t.vrf.router.Offer(changes...)
}

// allowedIn is a prefix that leads to a peer in a vrf.
type allowedIn struct {
	vrf    *vrf
	prefix netip.Prefix
}

// allowedBy are the prefixes of peers with cryptokey routing. Those that are not there yet will belong to v.
func (d *wgDevice) allowedBy(s uapi.State, v *vrf) map[allowedIn]bool {
	all := map[allowedIn]bool{}
	for i := range s.Peers {
		in := v
		if t := d.peers[handshake.PublicKey(s.Peers[i].PublicKey)]; t != nil {
			in = t.vrf
		}
		for _, p := range s.Peers[i].AllowedIPs {
			all[allowedIn{in, p}] = true
		}
	}
	return all
}

// protect ends the protection of prefixes that are no peer's any more, and begins that of those that are now: without the peer they are
// refused, and do not leave in the clear.
func (d *wgDevice) protect(gone, come map[allowedIn]bool) {
	for at := range come {
		if !gone[at] {
			d.protectOne(at.vrf, at.prefix, true)
		}
	}
	for at := range gone {
		if !come[at] {
			d.protectOne(at.vrf, at.prefix, false)
		}
	}
}

func (d *wgDevice) protectOne(v *vrf, p netip.Prefix, on bool) {
	if v == nil || slices.Contains(v.protected, p) {
		return
	}
	change := v.router.Protect
	if !on {
		change = v.router.Unprotect
	}
	change(p)
	if !v.cfg.protects(p) || v.cfg.Port.TUN == nil {
		return
	}
	t, err := d.s.kernelOf(v.cfg)
	switch {
	case err != nil:
	case on:
		err = t.table.Protect(p)
	default:
		err = t.table.Unprotect(p)
	}
	if err != nil {
		d.log.Error("prefix is not protected in the kernel", "prefix", p, "error", err)
	}
}
