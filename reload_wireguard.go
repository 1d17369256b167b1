package warren

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/wireguard/uapi"
)

// tuning is a WireGuard tunnel that stays, and what the configuration said of its peer before and says now.
type tuning struct {
	t       *tunnel
	was, is *TunnelConfig
}

// revive has peers made anew that wg(8) removed, if their configuration changes.
func (r *reload) revive() {
	live := map[string]bool{}
	for _, t := range r.allTunnels() {
		live[t.cfg.Name] = true
	}
	for i := range r.old.Tunnels {
		was := &r.old.Tunnels[i]
		is := r.kept[was.Name]
		if is != nil && is.WireGuard != nil && !live[was.Name] && !reflect.DeepEqual(was, is) {
			delete(r.kept, was.Name)
			r.gone[was.Name], r.come[was.Name] = true, true
		}
	}
}

// tune changes in place the peers that stay, those of one device together, since prefixes may go from one to another. It is done as
// if `wg set` had said it.
func (r *reload) tune() {
	of := map[*wgDevice][]tuning{}
	for _, c := range r.tuned {
		if !reflect.DeepEqual(c.was.WireGuard, c.is.WireGuard) || !reflect.DeepEqual(c.was.AllowedIPs, c.is.AllowedIPs) {
			of[c.t.device] = append(of[c.t.device], c)
		}
	}
	for d, all := range of {
		r.fail(d.tune(all))
		for _, c := range all {
			r.log.Info("peer was changed", "tunnel", c.is.Name)
		}
	}
}

func (d *wgDevice) tune(all []tuning) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var change uapi.Change
	for _, c := range all {
		if c.was.WireGuard.Endpoint != c.is.WireGuard.Endpoint {
			c.t.endpoint.Store(&c.is.WireGuard.Endpoint)
		}
		change.Peers = append(change.Peers, c.change())
	}
	return d.set(change)
}

// change has what the configuration says otherwise than before: the rest is left, as wg(8) may have changed it. A peer whose
// endpoint is not known any more stays where it is, and so does one whose endpoint has a name until that is found.
func (c tuning) change() uapi.PeerChange {
	was, is := c.was.WireGuard, c.is.WireGuard
	change := uapi.PeerChange{PublicKey: uapi.PublicKey(is.PublicKey), UpdateOnly: true}
	if !bytes.Equal(was.PresharedKey, is.PresharedKey) {
		change.PresharedKey = new(uapi.Key)
		copy(change.PresharedKey[:], is.PresharedKey)
	}
	if e := is.Endpoint; e != was.Endpoint && e.Addr.IsValid() {
		change.Endpoint = netip.AddrPortFrom(e.Addr, e.Port)
	}
	if was.PersistentKeepalive != is.PersistentKeepalive {
		seconds := uint16(is.PersistentKeepalive / time.Second)
		change.PersistentKeepalive = &seconds
	}
	if before, after := orEverything(c.was.AllowedIPs), orEverything(c.is.AllowedIPs); !slices.Equal(before, after) {
		change.ReplaceAllowedIPs = true
		for _, p := range after {
			change.AllowedIPs = append(change.AllowedIPs, uapi.AllowedIP{Prefix: p})
		}
	}
	return change
}

// orEverything are the prefixes that a peer is allowed, which are all where the configuration names none.
func orEverything(allowed []netip.Prefix) []netip.Prefix {
	if allowed == nil {
		return everything[:]
	}
	return allowed
}
