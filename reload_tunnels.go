package warren

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/tunnel/ike"
)

type ikeAction = ike.Action

// removeTunnels takes away the tunnels that are gone, and those that are to be made anew, with the devices that were their own: also
// where wg(8) has removed the peer.
func (r *reload) removeTunnels() {
	before := r.remembered
	r.remembered = nil
	for _, t := range before {
		r.fail(r.forgetKeys(t))
	}
	for _, t := range r.allTunnels() {
		if t.client == "" && r.gone[t.cfg.Name] {
			r.fail(r.removeTunnel(t))
		}
	}
	for _, d := range r.devices() {
		if d.owner != nil && r.gone[d.owner.Name] {
			if err := r.closeDevice(d); err != nil {
				r.fail(fmt.Errorf("remove tunnel %q: %w", d.owner.Name, err))
			}
		}
	}
	for _, t := range r.allTemplates() {
		if r.gone[t.cfg.Name] {
			r.fail(r.forgetKeys(t))
			r.mu.Lock()
			r.templates = slices.DeleteFunc(slices.Clone(r.templates), func(o *tunnel) bool { return o == t })
			r.mu.Unlock()
		}
	}
}

// removeTunnel takes one away: its routes first, so that packets are refused or go by others, then its keys, telling the peer.
func (r *reload) removeTunnel(t *tunnel) (err error) {
	if t.peer != nil {
		d := t.device
		d.mu.Lock()
		if d.peers[t.cfg.WireGuard.PublicKey] == t {
			d.removePeer(t)
		}
		d.mu.Unlock()
	} else {
		for _, p := range []*route.Peer{t.static, t.connected, t.selectors} {
			t.vrf.router.RemovePeer(p)
		}
		if t.cfg.IPsec.IKE != nil {
			err = r.forgetKeys(t)
		}
		r.mu.Lock()
		r.tunnels = slices.DeleteFunc(slices.Clone(r.tunnels), func(o *tunnel) bool { return o == t })
		r.mu.Unlock()
		t.Close()
		r.plane.RemoveTunnel(t.index)
	}
	for _, v := range []*route.Via{t.via, t.link} {
		t.vrf.router.SetUp(v, true) // nothing leads there: the router forgets it
	}
	r.log.Info("tunnel was removed", "tunnel", t.cfg.Name)
	if err != nil {
		return fmt.Errorf("remove tunnel %q: %w", t.cfg.Name, err)
	}
	return nil
}

// forgetKeys ends a tunnel's IKE SAs, and so its child SAs and a template's clients. The machine does nothing for it any more. Where it
// could not be told so the next reload does.
func (r *reload) forgetKeys(t *tunnel) error {
	k, name := r.keying, t.cfg.Name
	told := false
	err := r.keyed(func(now time.Time) error {
		told = true
		actions, err := k.endpoint.RemovePeer(now, name)
		k.do(actions)
		delete(k.tunnels, name)
		k.forgetHeld(t)
		k.keepers = slices.DeleteFunc(k.keepers, func(u *keepUp) bool { return u.tunnel == t })
		return err
	})
	if !told {
		r.remembered = append(r.remembered, t)
	}
	return err
}

// closeDevice ends the device that was a tunnel's own.
func (r *reload) closeDevice(d *wgDevice) error {
	r.mu.Lock()
	r.wireguard = slices.DeleteFunc(slices.Clone(r.wireguard), func(o *wgDevice) bool { return o == d })
	r.mu.Unlock()
	close(d.stop)
	<-d.ended
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.peers { // they came by wg(8)
		d.removePeer(t)
	}
	return d.closeSockets()
}

// addTunnels makes those that are new. Their routes wait.
func (r *reload) addTunnels() {
	for i := range r.new.Tunnels {
		cfg := &r.new.Tunnels[i]
		if !r.come[cfg.Name] {
			continue
		}
		if err := r.addTunnel(cfg); err != nil {
			r.failed[cfg.Name] = true
			r.fail(fmt.Errorf("add tunnel %q: %w", cfg.Name, err))
			continue
		}
		r.log.Info("tunnel was added", "tunnel", cfg.Name)
	}
}

func (r *reload) addTunnel(cfg *TunnelConfig) error {
	if w := cfg.WireGuard; w != nil {
		return r.addPeer(cfg)
	}
	if err := r.openTunnel(cfg); err != nil {
		return err
	}
	if cfg.IPsec.IKE == nil {
		return nil
	}
	t := r.live(cfg)
	err := r.keyed(func(time.Time) error {
		k := r.keying
		if err := k.begin(t); err != nil {
			delete(k.tunnels, cfg.Name)
			return err
		}
		k.keepers = append(k.keepers, t.keepers()...)
		return nil
	})
	if err == nil {
		return nil
	}
	r.drop(t)
	return err
}

// addPeer makes a WireGuard tunnel, with the device where that is its own.
func (r *reload) addPeer(cfg *TunnelConfig) error {
	own := cfg.WireGuard.Own
	if own != nil {
		if err := r.openDevice(r.engine, cfg, own); err != nil {
			return err
		}
	}
	d := r.deviceOf(cfg)
	r.loosen(d, cfg)
	err := r.openTunnel(cfg)
	if own == nil {
		return err
	}
	if err != nil {
		close(d.ended) // it never ran
		return errors.Join(err, r.closeDevice(d))
	}
	r.part(d.run)
	return nil
}

// live is the tunnel or template that was made of a configuration.
func (r *reload) live(cfg *TunnelConfig) *tunnel {
	all := slices.Concat(r.allTunnels(), r.allTemplates())
	return all[slices.IndexFunc(all, func(t *tunnel) bool { return t.cfg == cfg })]
}

// drop takes away a tunnel that the machine would not have. Its routes are not entered yet.
func (r *reload) drop(t *tunnel) {
	gone := func(o *tunnel) bool { return o == t }
	r.mu.Lock()
	r.tunnels = slices.DeleteFunc(slices.Clone(r.tunnels), gone)
	r.templates = slices.DeleteFunc(slices.Clone(r.templates), gone)
	r.mu.Unlock()
	if t.sealer == nil {
		return // a template
	}
	t.vrf.offers = slices.DeleteFunc(t.vrf.offers, func(c change) bool {
		return c.Path.Peer == t.static || c.Path.Peer == t.connected || c.Path.Peer == t.selectors
	})
	t.Close()
	r.plane.RemoveTunnel(t.index)
}

// growPools has pools have more addresses, and makes those that are new.
func (r *reload) growPools() {
	if r.keying == nil {
		return
	}
	r.fail(r.keyed(func(time.Time) error {
		k, taken := r.keying, r.taken()
		was := k.pools
		k.pools = map[string]*pool{}
		for i := range r.new.Pools {
			cfg := &r.new.Pools[i]
			p := was[cfg.Name]
			if p == nil {
				p = newPool(cfg, taken)
			}
			p.cfg, p.taken = cfg, taken
			k.pools[cfg.Name] = p
		}
		return nil
	}))
}
