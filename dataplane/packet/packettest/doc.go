// Package packettest makes packets for tests. Nothing of the program imports it.
//
// Reading order: packettest.go.
package packettest
