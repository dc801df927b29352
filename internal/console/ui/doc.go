// Package ui is the look of the console: the layout, the components, the one style
// sheet, the script, the logo, and how times and versions read. Pages are set in
// its layout by [Page].
//
// It knows nothing of tailnets, sessions or HTTP requests: data in, HTML out.
// A page's template is checked against the type of its data when it is parsed, so
// a misspelt field stops the program at its start and not a reader at work.
//
// Read page.go first, then layout.tmpl and static/console.css, which holds every
// size, distance and colour.
package ui
