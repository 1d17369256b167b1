package router

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/warrenvpn/warren/routing/kernel"
	"github.com/warrenvpn/warren/routing/route"
)

// kernelMap is a Kernel.
type kernelMap map[netip.Prefix][]kernel.Hop

// Set implements Kernel.
func (k kernelMap) Set(p netip.Prefix, hops []kernel.Hop) error {
	k[p] = hops
	if len(hops) != 1 || hops[0].Device == "" {
		return errors.New("no device")
	}
	return nil
}

// Delete implements Kernel.
func (k kernelMap) Delete(p netip.Prefix) error {
	delete(k, p)
	return nil
}

func (k kernelMap) has(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, p := range slices.SortedFunc(maps.Keys(k), netip.Prefix.Compare) {
		got = append(got, p.String()+" "+k[p][0].Device)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the kernel has %q, want %q", got, want)
	}
}

// TestKernelIsTold: what wins and is let through leads into the port; what leads out of the port, what is only protected and
// what came from the kernel is not told.
func TestKernelIsTold(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	h.announce(path(65001), "10.1.0.0/16", "10.3.0.0/24")
	k := kernelMap{}
	c := KernelConfig{Table: k, Port: w.port, Import: all, Export: policyFunc(func(p netip.Prefix, r route.Path) (route.Path, bool) {
		return r, p.Bits() <= 16
	})}
	w.SetKernel(c)
	k.has(t, "10.1.0.0/16 tun0")
	w.Protect(netip.MustParsePrefix("10.2.0.0/16"))
	w.offer(w.port, "10.4.0.0/16")
	w.Learn([]kernel.Learned{{Prefix: netip.MustParsePrefix("10.5.0.0/16"), Device: "eth0"}})
	w.forwards("10.5.0.0/16", "3")
	k.has(t, "10.1.0.0/16 tun0")
	h.announce(path(65001), "10.2.0.0/16")
	k.has(t, "10.1.0.0/16 tun0", "10.2.0.0/16 tun0")
	w.SetUp(w.a, false)
	k.has(t)
	w.SetUp(w.a, true)
	k.has(t, "10.1.0.0/16 tun0", "10.2.0.0/16 tun0")
	w.offer(w.port, "10.2.0.0/16")
	k.has(t, "10.1.0.0/16 tun0")
	c.Export = all
	w.SetKernel(c)
	k.has(t, "10.1.0.0/16 tun0", "10.3.0.0/24 tun0")
	c.Export = nil
	w.SetKernel(c)
	k.has(t)
}

// TestKernelIsHeard: what the import policy takes of the kernel's routes leads out of the port, with its metric and device, loses
// against what we know better, and is told to neighbours as of unknown origin.
func TestKernelIsHeard(t *testing.T) {
	w := newWorld(t)
	h := w.join("n", 65001, w.a)
	w.Learn([]kernel.Learned{{Prefix: netip.MustParsePrefix("10.9.0.0/16"), Device: "eth0"}})
	w.forwards("10.9.0.0/16", "") // nobody asked for it
	w.SetKernel(KernelConfig{Port: w.port, Import: policyFunc(func(_ netip.Prefix, r route.Path) (route.Path, bool) {
		return r, r.Device != "wlan0" && r.Metric < 100 && r.Protocol != 3
	})})
	p := netip.MustParsePrefix("10.1.0.0/16")
	learn := func(l kernel.Learned) {
		l.Prefix = p
		w.Learn([]kernel.Learned{l})
	}
	for _, l := range []struct {
		kernel.Learned
		leads string
	}{
		{kernel.Learned{Device: "wlan0"}, ""},
		{kernel.Learned{Device: "eth0", Metric: 20}, "3"},
		{kernel.Learned{Device: "eth0", Metric: 200}, ""},
		{kernel.Learned{Device: "eth0"}, "3"},
		{kernel.Learned{Device: "eth0", Protocol: 3}, ""},
		{kernel.Learned{Device: "eth0", Protocol: 188}, "3"},
		{kernel.Learned{Device: "tun0"}, ""},
		{kernel.Learned{Device: "eth0"}, "3"},
	} {
		learn(l.Learned)
		w.forwards("10.1.0.0/16", l.leads)
	}
	h.hears("10.1.0.0/16")
	if a := h.routes[p].Attrs; a.Origin != route.OriginIncomplete {
		t.Errorf("heard %+v", a)
	}
	h.announce(path(65001), "10.1.0.0/16")
	w.forwards("10.1.0.0/16", "1")
	h.hears()
	h.announce(nil, "10.1.0.0/16")
	learn(kernel.Learned{Withdrawn: true, Device: "eth0"})
	w.forwards("10.1.0.0/16", "")
	w.SetKernel(KernelConfig{Port: w.port})
	learn(kernel.Learned{Device: "eth0"})
	w.forwards("10.1.0.0/16", "")
}
