package warren

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ForwardConfig carries connections between sockets of the host and an engine's own stack, as ssh -L and -R do. Where Listen
// is an address of the stack, the stack listens and the host connects to To; otherwise the host listens, and the stack
// connects to To, which lies behind the tunnels. The host is the network namespace of the process.
type ForwardConfig struct {
	// Listen is the address and port to listen on. Port 0 lets the system choose one, which Status tells. UDP should not
	// listen on an unspecified address of a host with several: answers leave from the one that the host's routes prefer.
	Listen netip.AddrPort
	// To is the address and port to connect to. The host resolves names too, the stack does not.
	To string
	// Protocol is tcp or udp; tcp if empty.
	Protocol string
	// VRF is the one whose stack it is; the one that has the address, or the only one with a stack, if empty.
	VRF string
	// MaxConnections bounds the connections that are open at a time; 0 for DefaultMaxConnections. One more TCP connection is
	// refused. The datagrams of one UDP source count as a connection, and one more ends the one that was silent longest.
	MaxConnections int
	// IdleTimeout is how long nothing may pass from or to a UDP source before it is forgotten; 0 for
	// DefaultIdleTimeout. TCP has none.
	IdleTimeout time.Duration
}

// Defaults and bounds of ForwardConfig.
const (
	DefaultMaxConnections = 1024
	DefaultIdleTimeout    = time.Minute
	maxMaxConnections     = 65535
)

var forwardProtocols = map[string]string{"tcp": "tcp", "udp": "udp"}

// forwards reads the list of forwards.
func (d *decoder) forwards(n *node, path keyPath, c *Config) {
	listOf(d, &c.Forwards, func(n *node, path keyPath) (f ForwardConfig, ok bool) {
		before := len(d.errs)
		d.object(n, path, "forward", fields{
			"listen":          set(&f.Listen, d.addrPort),
			"to":              set(&f.To, d.text),
			"protocol":        set(&f.Protocol, word(d, forwardProtocols)),
			"vrf":             set(&f.VRF, d.text),
			"max_connections": set(&f.MaxConnections, number(d, 1, maxMaxConnections)),
			"idle_timeout":    set(&f.IdleTimeout, d.duration),
		})
		return f, len(d.errs) == before
	})(n, path)
}

// addrPort reads an address with a port.
func (d *decoder) addrPort(n *node, path keyPath) (netip.AddrPort, bool) {
	s, ok := d.text(n, path)
	if !ok {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		d.fail(n, path, "address and port, as 127.0.0.1:8080 or [::1]:8080", "%q is none", s)
	}
	return a, err == nil
}

// forwardDefaults returns copies with the defaults.
func forwardDefaults(all []ForwardConfig) []ForwardConfig {
	all = slices.Clone(all)
	for i := range all {
		f := &all[i]
		if f.Protocol == "" {
			f.Protocol = "tcp"
		}
		if f.MaxConnections == 0 {
			f.MaxConnections = DefaultMaxConnections
		}
		if f.IdleTimeout == 0 && f.Protocol == "udp" {
			f.IdleTimeout = DefaultIdleTimeout
		}
	}
	return all
}

// stackAddrs are the addresses of a vrf's stack.
type stackAddrs struct {
	vrf   string
	addrs []netip.Addr
}

func (s *stackAddrs) has(a netip.Addr) bool { return slices.Contains(s.addrs, a) }

// hasFamily says whether the stack can reach addresses like a.
func (s *stackAddrs) hasFamily(a netip.Addr) bool {
	return slices.ContainsFunc(s.addrs, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
}

// stacks are the stacks that a configuration makes: of ports, and beside them those that hold the addresses of tunnels and of
// BGP.
func (c *Config) stacks() (all []stackAddrs) {
	full := c.withDefaults()
	for i := range full.VRFs {
		v := &full.VRFs[i]
		s := stackAddrs{vrf: v.Name}
		if n := v.Port.Netstack; n != nil {
			for _, p := range n.Addresses {
				s.addrs = append(s.addrs, p.Addr())
			}
		}
		for _, t := range full.Tunnels {
			if t.VRF != v.Name || t.IPsec != nil && t.IPsec.any() {
				continue
			}
			for _, p := range t.Addresses {
				s.addrs = append(s.addrs, p.Addr())
			}
		}
		if v.BGP != nil {
			s.addrs = append(s.addrs, v.BGP.Addresses...)
		}
		if len(s.addrs) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// stackOf returns the stack that a forward goes through, and whether it is the stack that listens. What stands in the way is
// what is wrong with its key vrf.
func (f *ForwardConfig) stackOf(stacks []stackAddrs) (stack *stackAddrs, inside bool, wrong *issue) {
	var having []*stackAddrs
	var names []string
	for i := range stacks {
		s := &stacks[i]
		names = append(names, s.vrf)
		if s.vrf == f.VRF {
			stack = s
		}
		if s.has(f.Listen.Addr()) {
			having = append(having, s)
		}
	}
	fail := func(want, format string, args ...any) (*stackAddrs, bool, *issue) {
		return nil, false, &issue{keyPath{"vrf"}, fmt.Sprintf(format, args...), want}
	}
	switch {
	case len(stacks) == 0:
		return fail("a vrf with port: {netstack: {addresses: [...]}}, or addresses of a tunnel", "no vrf has a stack of its own")
	case f.VRF != "" && stack == nil:
		return fail(oneOf(names), "there is no vrf %q with a stack of its own", f.VRF)
	case stack != nil && !stack.has(f.Listen.Addr()) && len(having) > 0:
		return fail(having[0].vrf, "%v is an address of the stack of vrf %q", f.Listen.Addr(), having[0].vrf)
	case stack != nil:
		return stack, stack.has(f.Listen.Addr()), nil
	case len(having) == 1:
		return having[0], true, nil
	case len(having) > 1:
		names = names[:0]
		for _, s := range having {
			names = append(names, s.vrf)
		}
		return fail("vrf: "+oneOf(names), "%v is an address of the stacks of %d vrfs", f.Listen.Addr(), len(having))
	case len(stacks) > 1:
		return fail("vrf: "+oneOf(names), "there are %d vrfs with a stack of their own", len(stacks))
	}
	return &stacks[0], false, nil
}

// forwards checks all forwards.
func (k *checker) forwards() {
	if len(k.cfg.Forwards) == 0 {
		return
	}
	stacks := k.cfg.stacks()
	taken := map[string]keyPath{}
	for i := range k.cfg.Forwards {
		f := &k.cfg.Forwards[i]
		path := keyPath{"forward"}.index(i)
		where := k.forward(path, f, stacks)
		id := fmt.Sprint(where, f.Protocol == "udp", f.Listen)
		if other := taken[id]; other != nil && f.Listen.IsValid() && f.Listen.Port() != 0 {
			k.fail(path.to("listen"), "a port of its own", "%v listens on %v already", other, f.Listen)
		}
		taken[id] = path
	}
}

// forward checks one forward and returns the vrf whose stack listens, "" where that is the host.
func (k *checker) forward(path keyPath, f *ForwardConfig, stacks []stackAddrs) string {
	switch a := f.Listen.Addr(); {
	case !f.Listen.IsValid():
		k.fail(path.to("listen"), "listen: ADDRESS:PORT", "it is not said where to listen")
		return ""
	case a.Is4In6():
		k.fail(path.to("listen"), netip.AddrPortFrom(a.Unmap(), f.Listen.Port()).String(), "%v is an IPv4 address in IPv6 clothes", a)
	case a.IsMulticast():
		k.fail(path.to("listen"), "a unicast address", "%v is a multicast address", a)
	}
	if _, known := forwardProtocols[f.Protocol]; f.Protocol != "" && !known {
		k.fail(path.to("protocol"), "tcp or udp", "%q is not known here", f.Protocol)
	}
	k.between(path.to("max_connections"), f.MaxConnections, 0, maxMaxConnections)
	switch {
	case f.IdleTimeout < 0:
		k.fail(path.to("idle_timeout"), "a time such as 1m", "it is in the past")
	case f.IdleTimeout > 0 && f.Protocol != "udp":
		k.fail(path.to("idle_timeout"), "protocol: udp with it", "TCP connections end by themselves")
	}
	stack, inside, wrong := f.stackOf(stacks)
	if wrong != nil {
		k.fail(path.to(wrong.path...), wrong.want, "%s", wrong.problem)
		return ""
	}
	if problem, want := f.wrongTo(stack, inside); problem != "" {
		k.fail(path.to("to"), want, "%s", problem)
	}
	if !inside {
		return ""
	}
	return stack.vrf
}

// wrongTo says what is wrong with where a forward connects to, "" if nothing is.
func (f *ForwardConfig) wrongTo(stack *stackAddrs, inside bool) (problem, want string) {
	if f.To == "" {
		return "it is not said where to connect to", "to: ADDRESS:PORT"
	}
	host, service, err := net.SplitHostPort(f.To)
	port, perr := strconv.ParseUint(service, 10, 16)
	if err != nil || perr != nil || port == 0 || host == "" || strings.ContainsAny(host, " \t\r\n/[]") {
		return fmt.Sprintf("%q is no address with a port", f.To), "as 10.1.0.5:80 or [2001:db8::5]:80"
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil && inside:
		return "", "" // a name, which the host resolves
	case err != nil:
		return fmt.Sprintf("the stack of vrf %q does not resolve names such as %q", stack.vrf, host), "the address itself"
	case a.Is4In6():
		return fmt.Sprintf("%v is an IPv4 address in IPv6 clothes", a), a.Unmap().String()
	case a.IsMulticast() || a.IsUnspecified():
		return fmt.Sprintf("%v is not the address of one host", a), "a unicast address"
	case inside:
		return "", ""
	case a.Zone() != "":
		return fmt.Sprintf("%v has a zone, which means nothing behind a tunnel", a), "the address without it"
	case !stack.hasFamily(a):
		return fmt.Sprintf("the stack of vrf %q has no address from which %v can be reached", stack.vrf, a), "an address of the other family"
	}
	return "", ""
}
