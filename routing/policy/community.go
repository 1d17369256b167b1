package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warrenvpn/warren/routing/route"
)

// The well-known communities that a speaker must heed (RFC 1997).
const (
	NoExport          uint32 = 0xffffff01
	NoAdvertise       uint32 = 0xffffff02
	NoExportSubconfed uint32 = 0xffffff03
)

// wellKnown are the names of communities, as IANA registers them.
var wellKnown = []struct {
	name  string
	value uint32
}{
	{"graceful-shutdown", 0xffff0000}, // RFC 8326
	{"accept-own", 0xffff0001},        // RFC 7611
	{"llgr-stale", 0xffff0006},        // RFC 9494
	{"no-llgr", 0xffff0007},
	{"blackhole", 0xffff029a}, // RFC 7999
	{"no-export", NoExport},
	{"no-advertise", NoAdvertise},
	{"no-export-subconfed", NoExportSubconfed},
	{"no-peer", 0xffffff04}, // RFC 3765
}

// Community is a community or large community, or a pattern for some.
type Community struct {
	large bool
	parts [3]uint32
	any   [3]bool
}

// ParseCommunity reads 65001:100, 65001:1:2, * in place of a part, or a well-known name.
func ParseCommunity(s string) (Community, error) {
	s = strings.TrimSpace(s)
	for _, w := range wellKnown {
		if strings.ReplaceAll(strings.ToLower(s), "_", "-") == w.name {
			return Community{parts: [3]uint32{w.value >> 16, w.value & 0xffff}}, nil
		}
	}
	parts := strings.Split(s, ":")
	c := Community{large: len(parts) == 3}
	if len(parts) != 2 && !c.large {
		return Community{}, fmt.Errorf("community %q: want 65001:100, a large one as 65001:1:2, or a name as %s", s, names())
	}
	bits := 16
	if c.large {
		bits = 32
	}
	for i, part := range parts {
		if c.any[i] = part == "*"; c.any[i] {
			continue
		}
		n, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return Community{}, fmt.Errorf("community %q: part %q: want a number from 0 to %d", s, part, uint64(1)<<bits-1)
		}
		c.parts[i] = uint32(n)
	}
	return c, nil
}

func names() string {
	var all []string
	for _, w := range wellKnown {
		all = append(all, w.name)
	}
	return strings.Join(all, ", ")
}

// Exact says that it is one community and no pattern.
func (c Community) Exact() bool { return c.any == [3]bool{} }

// String writes the community as ParseCommunity reads it.
func (c Community) String() string {
	n := 2
	if c.large {
		n = 3
	}
	if !c.large && c.Exact() {
		for _, w := range wellKnown {
			if w.value == c.parts[0]<<16|c.parts[1] {
				return w.name
			}
		}
	}
	parts := make([]string, n)
	for i := range parts {
		if parts[i] = "*"; !c.any[i] {
			parts[i] = strconv.FormatUint(uint64(c.parts[i]), 10)
		}
	}
	return strings.Join(parts, ":")
}

// Matches says whether the attributes have such a community.
func (c *Community) Matches(a *route.Attrs) bool {
	if c.large {
		return slices.ContainsFunc(a.LargeCommunities, c.isLarge)
	}
	return slices.ContainsFunc(a.Communities, c.is)
}

func (c *Community) is(v uint32) bool { return !c.large && c.part(0, v>>16) && c.part(1, v&0xffff) }

func (c *Community) isLarge(v route.LargeCommunity) bool {
	return c.large && c.part(0, v.Global) && c.part(1, v.Local1) && c.part(2, v.Local2)
}

func (c *Community) part(i int, v uint32) bool { return c.any[i] || c.parts[i] == v }
