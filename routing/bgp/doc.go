// Package bgp speaks BGP-4.
package bgp
