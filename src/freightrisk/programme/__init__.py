"""What happens beside the price: claims are settled, and the effects of loss controls are measured."""
