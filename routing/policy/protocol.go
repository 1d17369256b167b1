package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// protocols are the names that Linux and iproute2 have for who entered a route into the kernel's table (rtnetlink(7)).
var protocols = map[string]uint8{
	"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "gated": 8, "ra": 9, "mrt": 10, "zebra": 11, "bird": 12, "dnrouted": 13,
	"xorp": 14, "ntk": 15, "dhcp": 16, "keepalived": 18, "babel": 42, "openr": 99, "bgp": 186, "isis": 187, "ospf": 188, "rip": 189,
	"eigrp": 192,
}

// ParseProtocol reads the protocol of a route in the kernel's table: its number, 1 to 255, or its name as `ip route` prints it.
func ParseProtocol(s string) (uint8, error) {
	if n, ok := protocols[s]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n > 0 {
		return uint8(n), nil
	}
	var names []string
	for name := range protocols {
		names = append(names, name)
	}
	slices.Sort(names)
	return 0, fmt.Errorf("protocol %q: want a number from 1 to 255, or one of %s", s, strings.Join(names, ", "))
}
