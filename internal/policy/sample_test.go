package policy

import "testing"

func TestSamples(t *testing.T) {
	names := make(map[string]bool)
	for _, s := range Samples() {
		t.Run(s.Name, func(t *testing.T) {
			if names[s.Name] || s.About == "" {
				t.Errorf("name used twice, or no description")
			}
			names[s.Name] = true
			p, err := Parse(s.Text)
			if err != nil {
				t.Fatal(err)
			}
			if w := p.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %v", w)
			}
		})
	}
	if Default() != Samples()[0].Text {
		t.Error("the default is not the first sample")
	}
}
