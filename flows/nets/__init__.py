"""The net around a layer: its rest, its answers, what it uses, interventions."""
