package rib

import (
	"net/netip"

	"github.com/warrenvpn/warren/routing/route"
)

// Paths calls yield for all paths to up to n prefixes, whether they win or not, in the order of the table, and returns where to go
// on, and whether there is more. Between two calls the table may be changed.
func (t *Table) Paths(from Cursor, n int, yield func(netip.Prefix, route.Path)) (next Cursor, more bool) {
	id := uint32(from)
	for ; id < t.slab.used && n > 0; id++ {
		e := t.slab.at(id)
		for i := range e.len() {
			yield(e.prefix(), e.at(i).route())
		}
		n--
	}
	return Cursor(id), id < t.slab.used
}
