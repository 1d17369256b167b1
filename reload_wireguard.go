package warren

import (
	"bytes"
	"fmt"
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
		err := d.tune(all)
		r.fail(err)
		for _, c := range all {
			if err != nil {
				r.untuned = append(r.untuned, c.refused())
				continue
			}
			r.log.Info("peer was changed", "tunnel", c.is.Name)
		}
	}
}

// refused is what the tunnel has when the change of its peer was not made, so that the next reload makes it.
func (c tuning) refused() *TunnelConfig {
	runs := *c.is
	runs.WireGuard, runs.AllowedIPs = c.was.WireGuard, c.was.AllowedIPs
	c.t.routing = &runs
	return &runs
}

func (d *wgDevice) tune(all []tuning) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var change uapi.Change
	for _, c := range all {
		change.Peers = append(change.Peers, c.change())
	}
	if err := d.set(change); err != nil {
		return fmt.Errorf("change the peers of %s: %w", d.name, err)
	}
	for _, c := range all {
		if c.was.WireGuard.Endpoint != c.is.WireGuard.Endpoint {
			c.t.endpoint.Store(&c.is.WireGuard.Endpoint)
		}
	}
	return nil
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
