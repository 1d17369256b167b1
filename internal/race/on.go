//go:build race

package race

// Enabled says whether it does.
const Enabled = true
