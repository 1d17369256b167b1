package warren

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Apply has the engine be what another configuration says. What did not change is not touched: the SAs and sessions of a tunnel
// of which at most the routes, their weights and the neighbour changed go on, and so do BGP sessions whose neighbour is the same;
// policies change under them. So does the session of a WireGuard tunnel whose endpoint, persistent keepalive, allowed_ips or
// preshared key changed, which the next handshake uses: as with `wg syncconf`, and what wg(8) changed besides stays so. A tunnel of
// which anything else changed is taken down and made anew. What is protected stays
// refused meanwhile: protection begins before a route leads anywhere, and ends when none does any more.
//
// All is checked before anything is touched: mistakes are ConfigErrors, and what only a new start can change (underlay, ports,
// vrfs, the shared private key) is a *RestartError; then nothing was applied, nor where key exchange is too busy to answer. What shows
// only when it is done, as a port that somebody else has, fails alone: the rest is applied, the error is ErrPartlyApplied and says what
// is not there or not changed, and the next Apply tries it again.
//
// Log.Level is the caller's to heed, who made the logger. Certificates are read when a tunnel is made. Peers that came by wg(8)
// stay, and one that was removed by it stays away, unless its configuration changes. An engine that does not run takes the
// configuration for its next start, whatever differs. The caller must not change cfg any more.
func (e *Engine) Apply(cfg *Config) error {
	if cfg == nil {
		return fmt.Errorf("apply configuration: %w", errNoConfig)
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	full := cfg.withDefaults()
	e.applying.Lock()
	defer e.applying.Unlock()
	e.mu.Lock()
	s := e.site
	if s == nil {
		e.cfg = full
	}
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	<-s.begun
	return e.applyTo(s, full)
}

// applyTo changes a site that runs.
func (e *Engine) applyTo(s *site, full *Config) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.part == nil {
		return ErrNotUp
	}
	c, err := diff(e.cfg, full)
	if err != nil {
		return err
	}
	r := &reload{site: s, engine: e, changes: c, failed: map[string]bool{}, unexchanged: map[string]bool{}}
	r.revive()
	if err := r.check(); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return fmt.Errorf("%w; nothing was applied", err)
	}
	r.apply()
	e.mu.Lock()
	e.cfg = r.reached()
	e.mu.Unlock()
	added, removed, changed, same := c.counts()
	s.log.Info("configuration is applied", "tunnels_added", added, "tunnels_removed", removed, "tunnels_changed", changed, "tunnels_unchanged", same,
		"failures", len(r.errs))
	if len(r.errs) > 0 {
		return fmt.Errorf("%w: %w", ErrPartlyApplied, errors.Join(r.errs...))
	}
	return nil
}

// ErrPartlyApplied says that Apply could not do all that was to be done.
var ErrPartlyApplied = errors.New("configuration is applied but for this")

// reload changes a site into what another configuration says.
//
// A reload belongs to the goroutine that made it, which holds site.changing.
type reload struct {
	*site
	*changes
	engine *Engine
	// errs are what failed although it was checked; failed are the tunnels among it, unforwarded the forwards.
	errs        []error
	failed      map[string]bool
	unforwarded []ForwardConfig
	// tuned are the WireGuard tunnels that stay, untuned those whose peer's settings could not be changed, as they run.
	tuned   []tuning
	untuned []*TunnelConfig
	// unexchanged are the vrfs that exchange with the kernel what they did before.
	unexchanged map[string]bool
	// loose are prefixes whose protection ends with the peers that came by wg(8) and gave way to the configuration's.
	loose map[*vrf]looseEnds
}

// apply does everything in an order in which no packet leaves in the clear: protection, then what goes, then what comes, then
// the end of the protection that nothing needs any more.
func (r *reload) apply() {
	r.protect()
	r.keep()
	r.leaveNeighbors()
	r.closeForwards()
	r.removeTunnels()
	r.ownAddresses()
	r.growPools()
	r.addTunnels()
	r.tune()
	r.changeRoutes()
	r.fitPorts()
	r.meetNeighbors()
	r.exchange()
	r.openForwards()
	r.unprotect()
}

func (r *reload) fail(err error) {
	if err != nil {
		r.errs = append(r.errs, err)
	}
}

// reached is the configuration that the site has now: without what failed, so that the next Apply finds it to be new.
func (r *reload) reached() *Config {
	reached := *r.new
	reached.Tunnels = slices.DeleteFunc(slices.Clone(r.new.Tunnels), func(t TunnelConfig) bool { return r.failed[t.Name] })
	for _, t := range r.untuned {
		at := slices.IndexFunc(reached.Tunnels, func(o TunnelConfig) bool { return o.Name == t.Name })
		reached.Tunnels[at] = *t
	}
	reached.VRFs = slices.Clone(r.new.VRFs)
	for i := range reached.VRFs {
		if v := &reached.VRFs[i]; r.unexchanged[v.Name] {
			v.Kernel = r.old.vrfConfig(v.Name).Kernel
		}
	}
	reached.Forwards = slices.DeleteFunc(slices.Clone(r.new.Forwards), func(f ForwardConfig) bool { return slices.Contains(r.unforwarded, f) })
	return &reached
}

// check sees that what is to be added finds what it needs in the site.
func (r *reload) check() error {
	k := new(restart)
	for i := range r.new.Tunnels {
		t := &r.new.Tunnels[i]
		if !r.come[t.Name] {
			continue
		}
		at := func(key ...string) []string { return append([]string{"tunnels", t.Name}, key...) }
		switch p := t.IPsec; {
		case t.WireGuard != nil: // its device is there, or is its own
		case p.IKE != nil && r.keying == nil:
			k.unless(false, at("ipsec")...) // without key exchange there are no sockets for it
		case p.any():
			k.unless(len(r.underlays) > 0, at("ipsec")...)
		default:
			if _, err := r.path(p); err != nil && p.Encap == EncapNever {
				k.unless(false, at("ipsec", "encap")...) // nobody wanted raw sockets when the engine began
			} else if err != nil {
				k.unless(false, at("ipsec", "remote")...) // no underlay of that family
			}
		}
		if v := r.vrfNamed(t.VRF); t.BGP != nil && v.bgp != nil && v.stack() == nil {
			k.unless(false, at("bgp")...) // the speaker began without a stack
		}
	}
	for _, t := range r.kept {
		if v := r.vrfNamed(t.VRF); t.BGP != nil && v.bgp != nil && v.stack() == nil {
			k.unless(false, "tunnels", t.Name, "bgp")
		}
	}
	if len(k.keys) == 0 {
		return nil
	}
	slices.Sort(k.keys)
	return &RestartError{Keys: k.keys}
}

// keyingPatience bounds how long the machine of IKE may take to begin, and for each command.
const keyingPatience = 30 * time.Second

// settle waits until the machine of IKE has begun all that it was started with.
func (r *reload) settle() error {
	if r.keying == nil {
		return nil
	}
	return r.keyed(func(time.Time) error { return nil })
}

// keyed runs f where the machine of IKE is.
func (r *reload) keyed(f func(now time.Time) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), keyingPatience)
	defer cancel()
	if err := r.keying.call(ctx, func(now time.Time) ([]ikeAction, error) { return nil, f(now) }); err != nil {
		return fmt.Errorf("key exchange: %w", err)
	}
	return nil
}
