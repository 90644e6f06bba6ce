"""What a book does under a model or a tariff."""
