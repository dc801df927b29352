package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"strings"
	"time"
)

// How the terminal looks, in pixels but for columns.
const (
	columns    = 100
	charWidth  = 8.43 // of the font at its size
	fontSize   = 14
	lineHeight = 20
	padding    = 18
	titleBar   = 36
)

// prompt is what a reader types to see the same.
const prompt = "$ go run ./cmd/selvage demo"

// lastLine is part of the line after which the demo waits for people.
const lastLine = "Ctrl-C ends the demo"

// shown is a line and when it appeared after the first.
type shown struct {
	text string
	at   time.Duration
}

// demoPicture runs the demo and draws what it prints.
func demoPicture(ctx context.Context, program, _ string) ([]byte, error) {
	lines, err := record(ctx, program)
	if err != nil {
		return nil, err
	}
	return draw(lines), nil
}

// record runs the demo until it waits for people.
func record(ctx context.Context, program string) ([]shown, error) {
	cmd := exec.CommandContext(ctx, program, "demo")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the demo: %w", err)
	}
	start := time.Now()
	var lines []shown
	ended := false
	for text := bufio.NewScanner(out); text.Scan(); {
		if strings.Contains(text.Text(), "FAIL") {
			err = errors.Join(err, fmt.Errorf("a step did not hold: %s", text.Text()))
		}
		if !ended {
			lines = append(lines, shown{text.Text(), time.Since(start)})
		}
		if strings.Contains(text.Text(), lastLine) {
			ended = true
			cmd.Process.Signal(os.Interrupt)
		}
	}
	if waitErr := cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("run the demo: %w", waitErr))
	}
	if !ended {
		err = errors.Join(err, errors.New("the demo ended before its last line"))
	}
	return lines, err
}

// style is the class of a line.
func style(text string) string {
	switch trimmed := strings.TrimSpace(text); {
	case strings.HasPrefix(trimmed, "ok "):
		return "step"
	case strings.HasPrefix(text, "          "):
		return "detail"
	case strings.HasPrefix(text, "      "):
		return "command"
	case text != "" && text[0] != ' ':
		return "title"
	}
	return "plain"
}

const look = `
.window { fill: #16181d; }
.bar { fill: #23262d; }
text { font: 14px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d5d8de; white-space: pre; }
.name, .detail { fill: #8b93a1; }
.title, .prompt { fill: #ffffff; font-weight: bold; }
.ok { fill: #5cc98a; font-weight: bold; }
.command { fill: #8fb4ff; }
@keyframes come { from { opacity: 0; } }
g.line { animation: come 1ms steps(1) backwards; }
@media (prefers-reduced-motion: reduce) { g.line { animation: none; } }
`

// draw makes the picture. What has not come yet is hidden by an animation that runs
// once; where there are no animations, everything is there at once.
func draw(lines []shown) []byte {
	rows := wrap(append([]shown{{prompt, 0}, {"", 0}}, trim(lines)...))
	width := padding*2 + int(columns*charWidth)
	height := titleBar + padding*2 + len(rows)*lineHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"selvage demo in a terminal\">\n<style>%s</style>\n",
		width, height, width, height, look)
	fmt.Fprintf(&b, "<rect class=\"window\" width=\"%d\" height=\"%d\" rx=\"10\"/>\n", width, height)
	fmt.Fprintf(&b, "<path class=\"bar\" d=\"M0 %d V10 Q0 0 10 0 H%d Q%d 0 %d 10 V%d Z\"/>\n", titleBar, width-10, width, width, titleBar)
	for i, color := range []string{"#ec6a5e", "#f4bf4f", "#61c554"} {
		fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"%d\" r=\"6\" fill=\"%s\"/>\n", padding+4+i*20, titleBar/2, color)
	}
	fmt.Fprintf(&b, "<text class=\"name\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">selvage demo</text>\n", width/2, titleBar/2+5)
	for i, row := range rows {
		y := titleBar + padding + i*lineHeight + fontSize
		if row.text != "" {
			fmt.Fprintf(&b, "<g class=\"line\" style=\"animation-delay:%dms\"><text x=\"%d\" y=\"%d\" class=\"%s\" xml:space=\"preserve\">%s</text></g>\n",
				row.at.Milliseconds(), padding, y, row.class, row.marked())
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// row is a line of the picture.
type row struct {
	shown
	class string
}

// marked is the text with its sign of success in a color of its own.
func (r row) marked() string {
	text := html.EscapeString(r.text)
	if r.class == "step" {
		text = strings.Replace(text, "ok", `<tspan class="ok">ok</tspan>`, 1)
	}
	return text
}

// trim leaves out empty lines at both ends.
func trim(lines []shown) []shown {
	for len(lines) > 0 && strings.TrimSpace(lines[0].text) == "" {
		lines = lines[1:]
	}
	for len(lines) > 0 && strings.TrimSpace(lines[len(lines)-1].text) == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// wrap cuts lines as a terminal does.
func wrap(lines []shown) []row {
	var rows []row
	for _, l := range lines {
		class := style(l.text)
		if l.text == prompt {
			class = "prompt"
		}
		rest := []rune(l.text)
		for len(rest) > columns {
			rows = append(rows, row{shown{string(rest[:columns]), l.at}, class})
			rest = rest[columns:]
		}
		rows = append(rows, row{shown{string(rest), l.at}, class})
	}
	return rows
}
