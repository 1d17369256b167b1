package warren

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"github.com/warrenvpn/warren/dataplane/port/tun"
	"github.com/warrenvpn/warren/routing/kernel"
	"github.com/warrenvpn/warren/routing/policy"
	"github.com/warrenvpn/warren/routing/route"
	"github.com/warrenvpn/warren/routing/router"
)

// kernelTable is one of the kernel's route tables, which the vrfs whose ports are in its namespace share.
type kernelTable struct {
	key   kernelKey
	table *kernel.Table

	// mu guards what changes with the configuration. learned is what the kernel's routes are, for vrfs whose policy changes.
	mu      sync.Mutex
	vrfs    []*vrf
	learned map[netip.Prefix]kernel.Learned
}

// learn hands on what the kernel's routes are.
func (t *kernelTable) learn(news []kernel.Learned) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range news {
		if n.Withdrawn {
			delete(t.learned, n.Prefix)
		} else {
			t.learned[n.Prefix] = n
		}
	}
	for _, v := range t.vrfs {
		v.router.Learn(news)
	}
}

// join has a vrf exchange routes with the kernel from now on. It is told all that was learned before.
func (t *kernelTable) join(v *vrf, side router.KernelConfig) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.router.SetKernel(side)
	v.router.Learn(slices.Collect(maps.Values(t.learned)))
	if !slices.Contains(t.vrfs, v) {
		t.vrfs = append(t.vrfs, v)
	}
}

// kernelKey tells tables apart. Two in one namespace with the same protocol number would take each other's routes for what a
// former life has left.
type kernelKey struct {
	netns    string
	table    uint32
	protocol uint8
}

// openKernel opens the kernel's tables that the configuration exchanges routes with, or that must refuse what is protected.
// When it returns the protection stands, before any port is open.
func (s *site) openKernel() error {
	for i := range s.cfg.VRFs {
		cfg := &s.cfg.VRFs[i]
		protect := s.cfg.protectedBy(cfg)
		if cfg.Port.TUN == nil || cfg.Kernel == nil && len(protect) == 0 && s.cfg.WireGuard == nil { // wg(8) may add what is to be protected
			continue
		}
		t, err := s.kernelOf(cfg)
		if err == nil {
			if err = t.table.Protect(protect...); err != nil {
				err = fmt.Errorf("protect its prefixes: %w", err)
			}
		}
		if errors.Is(err, syscall.EPERM) { // in the words of the port, which needs no less
			return fmt.Errorf("vrf %q: open port %s: %w", cfg.Name, cfg.Port.TUN.Name, tun.NoPrivilege(err))
		}
		if err != nil {
			return fmt.Errorf("vrf %q: %w", cfg.Name, err)
		}
	}
	return nil
}

// kernelOf returns the table that a vrf's port is beside.
func (s *site) kernelOf(cfg *VRFConfig) (*kernelTable, error) {
	c := cfg.Kernel
	if c == nil {
		c = new(KernelConfig)
	}
	key := kernelKey{cfg.Port.TUN.NetNS, c.table(), c.Protocol}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.kernels {
		if t.key == key {
			return t, nil
		}
	}
	t := &kernelTable{key: key, learned: map[netip.Prefix]kernel.Learned{}}
	var err error
	t.table, err = kernel.New(kernel.Config{Namespace: key.netns, TableID: key.table, Protocol: c.Protocol, Metric: c.Metric, Keep: c.Keep,
		Learn: t.learn})
	if err != nil {
		return nil, err
	}
	s.kernels = append(slices.Clip(s.kernels), t)
	return t, nil
}

// protectedBy are the prefixes that must never leave a vrf's host in the clear: those that the configuration leads into
// tunnels, and those that it names. The default routes are not among them unless named, or in a table of ours: a host has others.
func (c *Config) protectedBy(cfg *VRFConfig) (all []netip.Prefix) {
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix) {
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	for _, p := range cfg.Protect {
		add(p)
	}
	for i := range c.Tunnels {
		t := &c.Tunnels[i]
		if t.VRF != cfg.Name {
			continue
		}
		for _, p := range t.into() {
			if cfg.protects(p) {
				add(p)
			}
		}
	}
	return all
}

// protects says whether a prefix that leads into a tunnel is refused by the kernel where the tunnel is not there.
func (c *VRFConfig) protects(p netip.Prefix) bool {
	return p.Bits() > 0 || c.Kernel != nil && c.Kernel.PolicyRouting != 0
}

// into are the prefixes that a configuration leads into a tunnel.
func (t *TunnelConfig) into() (all []netip.Prefix) {
	for _, r := range t.Routes {
		all = append(all, r.Prefix)
	}
	switch {
	case t.IPsec != nil:
		for _, ts := range t.IPsec.remoteTS() {
			all = append(all, ts.Prefix)
		}
	case t.WireGuard.CryptokeyRouting:
		all = append(all, t.AllowedIPs...)
	}
	return all
}

// run keeps the table until ctx ends.
func (t *kernelTable) run(ctx context.Context) error {
	t.table.Settled()
	return t.table.Run(ctx)
}

// joinKernel begins the exchange of a vrf with the kernel, when its port is there.
func (s *site) joinKernel() error {
	for _, v := range s.vrfs {
		c := v.cfg.Kernel
		if c == nil {
			continue
		}
		t, err := s.kernelOf(v.cfg)
		if err != nil {
			return err
		}
		t.join(v, c.side(v, t))
	}
	return nil
}

// side is what a vrf exchanges with the kernel. Where it exports nothing the table yet takes out what it was told before.
func (c *KernelConfig) side(v *vrf, t *kernelTable) router.KernelConfig {
	side := router.KernelConfig{Port: v.out, Table: t.table}
	if c.Export != nil {
		side.Export, _ = c.Export.compile(policy.Options{Direction: policy.Export, With: route.Kernel}) // checked before
	}
	if c.Import != nil {
		side.Import, _ = c.Import.compile(policy.Options{Direction: policy.Import, With: route.Kernel})
	}
	return side
}

// runKernels keeps some of the kernel's tables until ctx ends, and then takes our routes out of them.
func (s *site) runKernels(ctx context.Context, tables []*kernelTable) error {
	ended := make(chan error, len(tables))
	for _, t := range tables {
		go func() { ended <- t.run(ctx) }()
	}
	var errs []error
	for range tables {
		errs = append(errs, <-ended)
	}
	if !s.handsOver() {
		errs = append(errs, s.closePolicyRouting())
	}
	return errors.Join(errs...)
}

// tables are the kernel's of this moment.
func (s *site) tables() []*kernelTable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kernels)
}

// closeKernels closes tables that never ran.
func (s *site) closeKernels() {
	for _, t := range s.kernels {
		t.table.Close()
	}
}
