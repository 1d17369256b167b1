package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/warrenvpn/warren/routing/route"
)

// Mistake is what is wrong with a rule, and where.
type Mistake struct {
	// Rule counts from 0. Key is where in the rule, as in the configuration: "prefixes", "set.med"; "" is the whole rule.
	Rule int
	Key  string
	// Index is which element of the list under Key, and -1 where that is no list.
	Index   int
	Problem string
}

// Error says it with the rule's number counted from 1.
func (m Mistake) Error() string {
	where := fmt.Sprintf("rule %d", m.Rule+1)
	if m.Key != "" {
		where += ", " + m.Key
	}
	return where + ": " + m.Problem
}

// Compile makes a policy of rules, or returns all that is wrong with them.
func Compile(rules []Rule, o Options) (*Policy, []Mistake) {
	c := compiler{o: o}
	p := new(Policy)
	takesAll := -1
	for i := range rules {
		c.rule = i
		p.rules = append(p.rules, c.compile(&rules[i]))
		if takesAll >= 0 {
			c.mistake("", -1, "never reached: rule %d has no condition and takes everything", takesAll+1)
		} else if !rules[i].asks() {
			takesAll = i
		}
	}
	if len(c.mistakes) > 0 {
		return nil, c.mistakes
	}
	return p, nil
}

// asks says whether the rule has a condition.
func (r *Rule) asks() bool {
	return r.From != "" || r.Device != "" || r.Protocol != "" || len(r.Prefixes) > 0 || r.Community != "" || r.ASPathLength != "" || r.Neighbor != ""
}

type compiler struct {
	o        Options
	rule     int
	mistakes []Mistake
}

func (c *compiler) mistake(key string, index int, format string, args ...any) {
	c.mistakes = append(c.mistakes, Mistake{c.rule, key, index, fmt.Sprintf(format, args...)})
}

// parse notes what cannot be read. What is empty was not asked for.
func parse[T any](c *compiler, key, s string, read func(string) (T, error)) *T {
	if s == "" {
		return nil
	}
	v, err := read(s)
	if err != nil {
		c.mistake(key, -1, "%v", err)
		return nil
	}
	return &v
}

func parseList[T any](c *compiler, key string, list []string, read func(string) (T, error)) (all []T) {
	for i, s := range list {
		v, err := read(s)
		if err != nil {
			c.mistake(key, i, "%v", err)
			continue
		}
		all = append(all, v)
	}
	return all
}

func (c *compiler) compile(r *Rule) *rule {
	out := &rule{
		from:      c.source(r.From),
		device:    parse(c, "device", r.Device, ParseGlob),
		protocol:  parse(c, "protocol", r.Protocol, ParseProtocol),
		community: parse(c, "community", r.Community, ParseCommunity),
		length:    parse(c, "as_path_length", r.ASPathLength, ParseLength),
		reject:    r.Reject,
	}
	// An IPv6 address is a pattern too, if one that matches no name.
	out.neighbor = parse(c, "neighbor", r.Neighbor, ParseGlob)
	if a, err := netip.ParseAddr(r.Neighbor); err == nil {
		out.address = a.Unmap()
	}
	if ranges := parseList(c, "prefixes", r.Prefixes, ParsePrefixRange); len(ranges) > 0 {
		out.prefixes = newPrefixList(ranges)
	}
	if r.Prefixes != nil && len(r.Prefixes) == 0 {
		c.mistake("prefixes", -1, "an empty list: leave it out where any prefix will do")
	}
	c.conditions(r, out.from)
	out.set = c.set(r)
	return out
}

func (c *compiler) source(name string) route.Source {
	if name == "" {
		return 0
	}
	s, ok := route.ParseSource(name)
	if !ok {
		c.mistake("from", -1, "source %q: want one of %s", name, strings.Join(route.Sources(), ", "))
	}
	return s
}

// conditions finds those that never hold.
func (c *compiler) conditions(r *Rule, from route.Source) {
	if c.o.Direction == Import {
		if from != 0 && from != c.o.With {
			c.mistake("from", -1, "all routes that are imported here are from %v", c.o.With)
		}
		from = c.o.With
	}
	if from != 0 && from != route.BGP && r.Neighbor != "" {
		c.mistake("neighbor", -1, "routes from %v have none", from)
	}
	if from != 0 && from != route.Kernel && r.Protocol != "" {
		c.mistake("protocol", -1, "routes from %v have none", from)
	}
	if c.o.Direction == Import {
		c.importConditions(r)
	}
}

func (c *compiler) importConditions(r *Rule) {
	none := func(key, s string) {
		if s != "" {
			c.mistake(key, -1, "routes from %v have none when they are imported", c.o.With)
		}
	}
	if c.o.With == route.BGP {
		none("device", r.Device)
		return
	}
	none("community", r.Community)
	none("as_path_length", r.ASPathLength)
}

func (c *compiler) set(r *Rule) *setter {
	s := &r.Set
	out := &setter{preference: s.Preference, metric: s.Metric, med: s.MED, localPref: s.LocalPref, nextHopSelf: s.NextHopSelf,
		remove: parseList(c, "set.community.remove", s.RemoveCommunities, ParseCommunity),
		add:    parseList(c, "set.community.add", s.AddCommunities, parseExact)}
	switch {
	case s.Prepend < 0 || s.Prepend > MaxPrepend:
		c.mistake("set.prepend", -1, "%d times: want 0 to %d", s.Prepend, MaxPrepend)
	case s.Prepend > 0 && c.o.LocalAS == 0:
		c.mistake("set.prepend", -1, "there is no local AS to prepend")
	}
	for range min(s.Prepend, MaxPrepend) {
		out.prepend = append(out.prepend, c.o.LocalAS)
	}
	sets := s.Preference != nil || s.Metric != nil || out.ofAttrs()
	if r.Reject && sets {
		c.mistake("set", -1, "a rule that rejects sets nothing")
	}
	c.effects(s, out.ofAttrs())
	if !sets {
		return nil
	}
	return out
}

// effects finds what would have none.
func (c *compiler) effects(s *Set, ofAttrs bool) {
	never := func(is bool, key, why string) {
		if is {
			c.mistake(key, -1, "has no effect: %s", why)
		}
	}
	exported := c.o.Direction == Export
	never(exported && s.Preference != nil, "set.preference", "the choice among sources was made before")
	never(!exported && s.NextHopSelf, "set.next_hop_self", "it is for what is exported")
	never(exported && c.o.With == route.BGP && s.Metric != nil, "set.metric", "a neighbor is told the med")
	never(exported && c.o.With == route.Kernel && s.Metric != nil, "set.metric", "all routes in the kernel have the metric of kernel.metric")
	never(exported && c.o.With == route.Kernel && ofAttrs, "set", "the kernel knows no attributes of BGP")
}

func parseExact(s string) (Community, error) {
	c, err := ParseCommunity(s)
	if err == nil && !c.Exact() {
		err = fmt.Errorf("community %q: a pattern cannot be added", s)
	}
	return c, err
}
