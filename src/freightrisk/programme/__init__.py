"""What happens under a cover after pricing: claims are settled."""
