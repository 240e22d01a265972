// Renders a text/template with the values of one turn, both given as JSON on stdin: what Ollama does with a Modelfile.
package main

import (
	"encoding/json"
	"os"
	"text/template"
)

func main() {
	var given struct {
		Template string
		Turns    []map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		panic(err)
	}
	parsed := template.Must(template.New("").Option("missingkey=zero").Parse(given.Template))
	for _, turn := range given.Turns {
		if err := parsed.Execute(os.Stdout, turn); err != nil {
			panic(err)
		}
	}
}
